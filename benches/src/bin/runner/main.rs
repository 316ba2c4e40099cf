//! Runs the workers in turn and writes the table. `cargo xtask bench` starts it, with a broker of its own.
#![allow(clippy::print_stdout, reason = "a command-line tool answers on its standard output")]

mod broker;
mod measure;
mod options;
mod program;
mod table;
mod workload;

use std::path::Path;

use benches::{Error, Job, Report, Task};

use broker::{Broker, QUEUE};
use measure::{Rounds, Sample};
use options::{HELP, Options};
use program::{Feed, Running};
use workload::{Against, Worker, Workload};

/// Messages a second where latency is measured.
const RATE: u32 = 1_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let mut options = Options::parse(std::env::args().skip(1))?;
    let folder = program::folder()?;
    let mut text = head(&options);
    if options.workers.contains(&Worker::RabbitmqC)
        && let Err(why) = program::compile_rabbitmq_c(&folder)
    {
        options.workers.retain(|worker| *worker != Worker::RabbitmqC);
        text += &format!("rabbitmq-c is left out: {why}.\n");
    }
    println!("{text}");
    let broker = Broker::connect(options.port, options.broker_pid).await?;
    for workload in &options.workloads {
        let rounds = rounds(&options, workload, &broker, &folder).await;
        let table = format!("\n{}", table::table(workload, &rounds));
        println!("{table}");
        text += &table;
        // After each table: an interrupted run keeps what it has.
        if let Some(file) = &options.out {
            std::fs::write(file, &text)?;
        }
    }
    broker.close().await
}

fn head(options: &Options) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Options { runs, messages, broker, .. } = options;
    format!(
        "# Benchmark\n\n\
         {cores} cores; {broker}; a durable classic queue, transient messages of 120 bytes of JSON unless said.\n\
         Median (least..greatest) of {runs} runs, the workers interleaved; a ratio is the median of the ratios of the\n\
         rounds. {messages} messages a run (`--messages`), a multiple or a part of it where a worker is fast or slow.\n\
         The clock runs from `basic.consume` to the closed connection, for asyncworker from before it connects. CPU is\n\
         user and system time of the whole process. In every run what was handled equals what the broker no longer has.\n\
         The workers in Rust parse each body into the same struct; rabbitmq-c scans it for quotes.\n"
    )
}

/// Each worker once, then each once more.
async fn rounds(options: &Options, workload: &Workload, broker: &Broker, folder: &Path) -> Rounds {
    let workers: Vec<Worker> =
        workload.workers.iter().copied().filter(|worker| options.workers.contains(worker)).collect();
    let mut rounds = Rounds::new();
    for round in 1..=options.runs {
        for &worker in &workers {
            let sample = run(options, workload, worker, broker, folder).await;
            match &sample {
                Ok(sample) => {
                    let rate = sample.rate.unwrap_or_default();
                    eprintln!("{} {round}/{} {}: {rate:.0} msg/s", workload.name, options.runs, worker.name());
                }
                Err(error) => {
                    eprintln!("{} {round}/{} {}: FAILED: {error}", workload.name, options.runs, worker.name())
                }
            }
            rounds.entry(worker).or_default().push(sample.ok());
        }
    }
    rounds
}

async fn run(
    options: &Options,
    workload: &Workload,
    worker: Worker,
    broker: &Broker,
    folder: &Path,
) -> Result<Sample, Error> {
    let messages = workload.messages(worker, options.messages);
    let job = Job {
        task: workload.task,
        port: options.port,
        queue: QUEUE.to_owned(),
        messages,
        prefetch: workload.prefetch,
        bulk: workload.bulk,
        body: workload.body,
    };
    match workload.against {
        Against::Feed => fed(worker, job, folder).await,
        Against::Broker => from_broker(worker, &job, broker, folder).await,
    }
}

async fn fed(worker: Worker, mut job: Job, folder: &Path) -> Result<Sample, Error> {
    let feed = Feed::start(folder, job.messages, job.body)?;
    job.port = feed.port;
    let report = Running::start(folder, worker, &job)?.report().await?;
    let fed = feed.fed()?;
    if report.messages != job.messages || fed.settled != job.messages {
        return Err(format!("{} asked for, {} handled, {} settled", job.messages, report.messages, fed.settled).into());
    }
    let frames_a_message = Some(fed.frames as f64 / fed.settled as f64);
    Ok(Sample { frames_a_message, ..sample(&job, &report) })
}

async fn from_broker(worker: Worker, job: &Job, broker: &Broker, folder: &Path) -> Result<Sample, Error> {
    let preloaded = if matches!(job.task, Task::Drain | Task::Wait) { job.messages } else { 0 };
    broker.preload(preloaded, job.body).await?;
    let cpu_before = broker.cpu_seconds();
    let running = Running::start(folder, worker, job)?;
    if job.task == Task::Latency {
        broker.publish_at(RATE, job.messages, job.body).await?;
    }
    let report = running.report().await?;
    let cpu_after = broker.cpu_seconds();
    let left = broker.left().await?;
    let expected = if job.task == Task::Publish { job.messages } else { 0 };
    if report.messages != job.messages || left != expected {
        return Err(format!(
            "{} asked for, {} handled, and the queue has {left} instead of {expected}",
            job.messages, report.messages
        )
        .into());
    }
    let broker_cpu = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
    let broker_cpu_a_million = broker_cpu.map(|seconds| seconds * 1e6 / job.messages as f64);
    Ok(Sample { broker_cpu_a_million, ..sample(job, &report) })
}

fn sample(job: &Job, report: &Report) -> Sample {
    let messages = report.messages as f64;
    // Where the rate is given, it says nothing.
    let rate = (job.task != Task::Latency).then(|| messages / report.seconds);
    Sample {
        rate,
        cpu_a_million: Some(report.cpu_seconds * 1e6 / messages),
        peak_mib: Some(report.peak_kib as f64 / 1024.0),
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        ..Sample::default()
    }
}
