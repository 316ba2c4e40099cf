//! Runs the workers in turn and writes the table. `cargo xtask bench` starts it, with a broker of its own.
#![allow(clippy::print_stdout, reason = "a command-line tool answers on its standard output")]

mod broker;
mod growth;
mod measure;
mod options;
mod program;
mod run;
mod table;
mod workload;

use std::path::Path;

use benches::Error;

use broker::Broker;
use measure::Rounds;
use options::{HELP, Options};
use workload::{Worker, Workload};

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
    if options.workers.contains(&Worker::Python)
        && let Err(why) = program::find_python()
    {
        options.workers.retain(|worker| *worker != Worker::Python);
        text += &format!("async-worker is left out: {why}.\n");
    }
    println!("{text}");
    let broker = Broker::connect(options.port, options.broker_pid).await?;
    let mut failed = false;
    for workload in &options.workloads {
        let results = rounds(&options, workload, &broker, &folder).await;
        failed |= results.iter().flat_map(Rounds::values).flatten().any(Option::is_none);
        let table = format!("\n{}", table::table(workload, &results));
        println!("{table}");
        text += &table;
        // After each table: an interrupted run keeps what it has.
        if let Some(file) = &options.out {
            std::fs::write(file, &text)?;
        }
    }
    broker.close().await?;
    if failed { Err("some runs failed".into()) } else { Ok(()) }
}

fn head(options: &Options) -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Options { runs, scale, broker, .. } = options;
    let built = match options.quick {
        true => "A quick run, of programs that are not optimized at link time: its figures mean nothing.",
        false => {
            "The programs are optimized at link time: without, lapin, much of which is generic code, is a third slower."
        }
    };
    format!(
        "# Benchmark\n\n\
         {cores} cores; {broker}; a durable classic queue, transient messages of 120 bytes of JSON unless said.\n\
         Median (least..greatest) of {runs} runs, the workers interleaved; a ratio is the median of the ratios of the\n\
         rounds. {scale} x the usual number of messages a run, which is 100,000 in W1 and fewer where a worker is slow.\n\
         CPU is user and system time of the whole process. In every run what was handled equals what the broker no\n\
         longer has. The clock runs from `basic.consume` to the closed connection; for asyncworker from its connection,\n\
         before it opens its channel, because it does not tell when it asks to consume.\n\
         {built}\n\
         The workers in Rust parse each body into a struct by serde_json; rabbitmq-c fills the same struct by a\n\
         hand-written scan for its fields.\n"
    )
}

/// Each worker once at each point, then each once more; by points.
async fn rounds(options: &Options, workload: &Workload, broker: &Broker, folder: &Path) -> Vec<Rounds> {
    let workers = || workload.workers.iter().copied().filter(|worker| options.workers.contains(worker));
    let mut rounds = vec![Rounds::new(); workload.points.len()];
    for round in 1..=options.runs {
        for (rounds, (label, point)) in rounds.iter_mut().zip(workload.points) {
            for worker in workers() {
                let sample = run::run(options, point, worker, broker, folder).await;
                let outcome = match &sample {
                    Ok(sample) => sample.rate.map_or("ok".to_owned(), |rate| format!("{rate:.0} msg/s")),
                    Err(error) => format!("FAILED: {error}"),
                };
                let (name, runs, worker_name) = (workload.name, options.runs, worker.name());
                eprintln!("{name} {label} {round}/{runs} {worker_name}: {outcome}");
                rounds.entry(worker).or_default().push(sample.ok());
            }
        }
    }
    rounds
}
