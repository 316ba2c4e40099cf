//! TLS: the broker's certificate is verified, always. A relay that speaks TLS stands before the broker.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use asyncworker::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::{Client, LIMIT, unique, until, url_to};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A relay from TLS to the broker, with a certificate for `localhost` by an authority of its own.
struct TlsRelay {
    port: u16,
    authority: String,
    listener: JoinHandle<()>,
}

impl Drop for TlsRelay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl TlsRelay {
    async fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let (Ok(mut client), Ok(mut broker)) =
                        (acceptor.accept(client).await, TcpStream::connect(tests::broker_address()).await)
                    else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
                });
            }
        });
        Self { port, authority: authority.pem(), listener }
    }

    /// The broker by way of the relay, with the credentials of the tests.
    fn amqp(&self, host: &str) -> Amqp {
        let url = url_to(&format!("{host}:{}", self.port), "").replacen("amqp://", "amqps://", 1);
        Amqp::from_uri(&url).unwrap().backoff(Duration::from_millis(50), Duration::from_millis(50))
    }
}

type Count = Arc<AtomicUsize>;

async fn count(State(count): State<Count>, _message: Message) {
    count.fetch_add(1, Ordering::SeqCst);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_trusted_lets_messages_through() {
    let (relay, client, queue) = (TlsRelay::start().await, Client::connect().await, unique("tls"));
    client.declare(&queue, &[]).await;
    let seen = Count::default();
    let app = App::new()
        .connect(relay.amqp("localhost").ca_certificates(relay.authority.clone()))
        .state(Arc::clone(&seen))
        .route(Route::amqp([queue.clone()]).handler(count))
        .start()
        .await
        .unwrap();
    let big = vec![b'1'; 300_000];
    client.publish(&queue, [b"1".to_vec(), big]).await;
    app.publisher().publish(Publish::raw("2").to(queue.clone())).await.unwrap();
    until("all are handled", LIMIT, || seen.load(Ordering::SeqCst) == 3).await;
    app.shutdown().await.unwrap();
    assert_eq!(client.ready(&queue).await, 0);
    client.delete(&queue).await;
}

/// The errors of the first attempts to connect.
async fn failures(amqp: Amqp) -> Vec<String> {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let amqp = amqp.on_connection_failure(move |error, _| note.lock().unwrap().push(format!("{error:?}")));
    let route = Route::amqp(["any"]).handler(count);
    let app = App::new().connect(amqp).state(Count::default()).route(route).start().await.unwrap();
    until("two attempts", LIMIT, || told.lock().unwrap().len() >= 2).await;
    app.shutdown().await.unwrap();
    let told = told.lock().unwrap();
    told.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_nobody_trusts_is_refused() {
    let relay = TlsRelay::start().await;
    let told = failures(relay.amqp("localhost")).await;
    assert!(told[0].contains("certificate"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_is_refused() {
    let relay = TlsRelay::start().await;
    let told = failures(relay.amqp("127.0.0.1").ca_certificates(relay.authority.clone())).await;
    assert!(told[0].contains("certificate"), "{told:?}");
}
