//! The project's own tasks, called as `cargo xtask <task>`.
//!
//! * `test` finds, starts or installs a broker, runs every test of the workspace against it, and stops it again.
//! * `broker` runs a RabbitMQ node for daily use, and is how fault tests kill, pause and restart theirs.
//! * `bench` measures the library and others against a broker of its own and writes a table.
//! * `chaos` strikes a worker with every fault there is and proves that no message is lost.
//! * `counts` holds what a message costs in instructions and allocations against its budget.
//! * `fuzz` looks for inputs that the readers, the settle window and the bucket get wrong.
//! * `lowest` builds the library with the lowest versions that it states of its dependencies.
//! * `msrv` checks the minimum Rust version that the workspace states.
//!
//! `cargo xtask --help` lists the verbs and the environment variables.
#![allow(clippy::print_stdout, reason = "a command-line tool answers on its standard output")]

mod bench;
mod broker;
mod browser;
mod chaos;
mod counts;
mod failure;
mod fuzz;
mod lock;
mod lowest;
mod msrv;
mod packages;
mod process;
mod processors;
mod test_run;
mod workspace;

use std::env;
use std::process::ExitCode;

const HELP: &str = "\
The tasks of the asyncworker workspace.

    cargo xtask test [-- ARGS]     run every test with a broker; with ARGS, run `cargo test ARGS`
    cargo xtask broker VERB        run a RabbitMQ node
    cargo xtask bench [OPTIONS]    compare with other clients; `bench --help` lists the options
    cargo xtask chaos [OPTIONS]    strike a worker with faults at random and count what comes of every message
    cargo xtask counts [--accept]  what a message costs, against its budget; `counts --help` tells more
    cargo xtask fuzz [OPTIONS]     fuzz what reads octets and counts tags; installs a C++ compiler where there is none
    cargo xtask lowest             build with the lowest versions that the library states of its dependencies
    cargo xtask msrv               check the minimum Rust version that the workspace states

Verbs of `broker`:
    start              start the node (the same one again, where it ran before); prints its URL
    stop               stop it gracefully; durable queues and their messages stay
    restart            kill and start; with --graceful, stop and start
    kill               end it at once with SIGKILL, as a crash would
    pause, resume      freeze it with SIGSTOP (its connections stay open but silent), and let it go on
    remove             end it and delete its data
    ctl ARGS           run `rabbitmqctl ARGS` against it
    url                print its URL
    status             print what it is; exits with 3 where it does not run

Options of `chaos`:
    --minutes N        how long faults strike (default: 10)
    --seed N           where the random numbers begin (default: another each time; the report tells it)
    --cluster          three nodes with quorum queues, and the faults of a cluster
    --report FILE      write the report there, too

Options of `fuzz`:
    --seconds N        how long each target runs (default: 60)
    --target NAME      only this one of: reader, properties, events, window, bucket
    --seed N           where libFuzzer's random numbers begin (default: 1)
    --replay FILE      with --target: run this input and nothing else
    --keep             then put what reaches new code into fuzz/corpus/, which tests replay

Where the broker comes from, the first that applies:
    1. AMQP_URL, where set: `test` and `ctl` use that broker, which no verb starts or ends
    2. a Docker engine with Compose: the service in docker-compose.yml
    3. an installed rabbitmq-server: a private node on free ports, apart from any system service
    4. rabbitmq-server, installed with the system's package manager, where this user may

Environment:
    AMQP_URL                 the broker to use, e.g. amqp://guest:guest@127.0.0.1:5672
    RABBITMQCTL              the command line of rabbitmqctl for the broker in AMQP_URL (default: rabbitmqctl)
    XTASK_BROKER_DIR         the folder of the node that `broker` acts on (default: target/broker/daily)
    CHROMIUM                 the browser to test with (default: the first Chromium or Chrome on PATH)
    CHROMEDRIVER             the ChromeDriver of the same version (default: the first on PATH)

What `test` sets for the tests:
    AMQP_URL                 the broker to test with
    XTASK_BROKER             a program: tests control the node with `$XTASK_BROKER broker VERB`
    XTASK_BROKER_DIR         target/broker/test, the folder of the node which those verbs act on
    CHROMIUM                 a Chromium or Chrome; a run of every test installs one where there is none
    CHROMEDRIVER             what tests drive it by; installed likewise
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] | ["-h" | "--help" | "help", ..] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        // These have a `--help` of their own, or hand it on.
        ["bench", arguments @ ..] => bench::run(arguments),
        ["counts", arguments @ ..] => counts::run(arguments),
        ["broker", "ctl", arguments @ ..] => broker::ctl(arguments),
        [.., "-h" | "--help"] if !words.contains(&"--") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["test"] => test_run::run(&[]),
        ["test", "--", arguments @ ..] => test_run::run(arguments),
        ["broker", verb, arguments @ ..] => broker::run(verb, arguments),
        ["chaos", arguments @ ..] => chaos::run(arguments),
        ["fuzz", arguments @ ..] => fuzz::run(arguments),
        ["lowest"] => lowest::run(),
        ["msrv"] => msrv::run(),
        [test_run::WATCH, run] => test_run::watch(run),
        _ => {
            eprintln!("xtask: `{}` is not a task\n\n{HELP}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("xtask: {failure}");
        ExitCode::FAILURE
    })
}
