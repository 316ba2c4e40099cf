//! One run of a worker: what it needs is prepared, what it says is checked.

use std::path::Path;

use benches::{Error, Job, Report, Task};

use crate::broker::{Broker, QUEUE};
use crate::measure::Sample;
use crate::options::Options;
use crate::program::{Feed, Running};
use crate::workload::{Against, Point, Worker};

pub(crate) async fn run(
    options: &Options,
    point: &Point,
    worker: Worker,
    broker: &Broker,
    folder: &Path,
) -> Result<Sample, Error> {
    let job = Job {
        task: point.task,
        port: options.port,
        queue: QUEUE.to_owned(),
        messages: point.messages(worker, options.scale),
        routes: point.routes,
        seconds: if point.watch { options.idle_seconds } else { 0 },
        prefetch: point.prefetch,
        bulk: point.bulk,
        body: point.body,
    };
    let sample = match point.against {
        Against::Feed => fed(worker, job, folder).await?,
        Against::Broker => {
            let sample = from_broker(worker, &job, point.a_second, broker, folder).await;
            broker.delete(&job).await?;
            sample?
        }
    };
    let early_peak_mib = sample.early_peak_mib.filter(|_| point.watch);
    Ok(Sample { early_peak_mib, ..sample })
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

async fn from_broker(
    worker: Worker,
    job: &Job,
    a_second: u32,
    broker: &Broker,
    folder: &Path,
) -> Result<Sample, Error> {
    let preloaded = if matches!(job.task, Task::Drain | Task::Bytes | Task::Wait) { job.messages } else { 0 };
    broker.preload(job, preloaded).await?;
    let cpu_before = broker.cpu_seconds();
    let running = Running::start(folder, worker, job)?;
    if job.task == Task::Latency {
        broker.publish_at(a_second, job).await?;
    }
    let report = running.report().await?;
    let cpu_after = broker.cpu_seconds();
    let left = broker.left(job).await?;
    let expected = if job.task == Task::Publish { job.messages } else { 0 };
    if report.messages != job.messages || left != expected {
        return Err(format!(
            "{} asked for, {} handled, and the broker has {left} instead of {expected}",
            job.messages, report.messages
        )
        .into());
    }
    let broker_cpu = cpu_after.zip(cpu_before).map(|(after, before)| after - before);
    let broker_cpu_a_million = broker_cpu.map(|seconds| seconds * 1e6 / job.messages as f64);
    Ok(match report.idle {
        Some(_) => sample(job, &report),
        None => Sample { broker_cpu_a_million, ..sample(job, &report) },
    })
}

fn sample(job: &Job, report: &Report) -> Sample {
    let peak_mib = Some(report.peak_kib as f64 / 1024.0);
    if let Some(idle) = report.idle {
        let a_minute = |value: f64| (job.seconds > 0).then(|| value * 60.0 / job.seconds as f64);
        return Sample {
            peak_mib,
            start_ms: Some(idle.start_seconds * 1e3),
            kib_a_route: Some(idle.kib as f64 / f64::from(job.routes)),
            wake_ups_a_minute: a_minute(idle.wake_ups as f64),
            cpu_ms_a_minute: a_minute(idle.cpu_seconds * 1e3),
            ..Sample::default()
        };
    }
    let messages = report.messages as f64;
    Sample {
        // Where the rate is given, it says nothing.
        rate: (job.task != Task::Latency).then(|| messages / report.seconds),
        cpu_a_million: Some(report.cpu_seconds * 1e6 / messages),
        peak_mib,
        early_peak_mib: report.early_peak_kib.map(|kib| kib as f64 / 1024.0),
        p50_us: report.p50_us,
        p99_us: report.p99_us,
        ..Sample::default()
    }
}
