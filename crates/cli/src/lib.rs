//! The command line of Lyceum: methods from machine-learning research, ready to use. The binary and the Python package's script call
//! [`main`].

/// Prints a line.
macro_rules! say {
    ($($part:tt)*) => { $crate::output::text(&format!("{}\n", format_args!($($part)*))) };
}

mod commands;
mod diagnostic;
mod output;

use std::{ffi::OsString, time::Duration};

use clap::{Parser, Subcommand};
use diagnostic::Diagnostic;
use lyceum_core::{Progress, Result, interrupt, progress::Mode};

/// What a training step, or a day of an epidemic, gives back the next one needs again, and the system clears each page that it
/// lends: memory is kept until the program ends.
fn keep_memory() {
    /// mimalloc's `mi_option_purge_delay`, in milliseconds; with -1 nothing is given back.
    const PURGE_DELAY: std::ffi::c_int = 15;
    // SAFETY: sets a number; the option exists in versions 2 and 3, at this place in both.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// How long a command may take to stop in order.
const ORDERLY: Duration = Duration::from_secs(1);

/// Methods from machine-learning research, ready to use: training, prediction sets, active learning, masking, epidemics
#[derive(Parser)]
#[command(name = "lyceum", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// No progress, only results and errors
    #[arg(long, short, global = true, conflicts_with = "json")]
    quiet: bool,

    /// Progress and results as JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  lyceum run recipes/quickstart.toml
  lyceum run recipes/quickstart.toml --set seed=2 --set training.epochs=10 --out runs/short
  lyceum resume runs/quickstart
  lyceum list
  lyceum explain train
  lyceum predict runs/quickstart/seed-1/SAM pictures/
  lyceum conformal calibrate --logits cal.npy --labels y.npy --alpha 0.1 --out model.json
  lyceum conformal predict --model model.json --logits test.npy --out sets.npz";

#[derive(Subcommand)]
enum Command {
    Run(commands::run::Run),
    Resume(commands::run::Resume),
    List(commands::list::List),
    Explain(commands::explain::Explain),
    Report(commands::report::Report),
    Data(commands::data::Data),
    #[command(subcommand)]
    Model(commands::model::Model),
    Predict(commands::predict::Predict),
    Export(commands::export::Export),
    Shrink(commands::shrink::Shrink),
    #[command(subcommand)]
    Conformal(commands::conformal::Conformal),
    #[command(subcommand)]
    Active(commands::active::Active),
    #[command(subcommand)]
    Masking(commands::masking::Masking),
    #[command(subcommand)]
    Epidemic(commands::epidemic::Epidemic),
    Completions(commands::shell::Completions),
    Man(commands::shell::Man),
}

/// Does what the arguments say, the first of which is the program's own name; gives the exit status.
pub fn main(arguments: Vec<OsString>) -> u8 {
    output::outlive_limits();
    let cli = Cli::try_parse_from(&arguments).unwrap_or_else(|error| {
        // No arguments were parsed, so this one is looked for by hand.
        if error.use_stderr() && arguments.iter().any(|argument| argument == "--json") {
            say!("{}", diagnostic::usage(&error));
        }
        error.exit()
    });
    if matches!(cli.command, Command::Run(_) | Command::Resume(_) | Command::Epidemic(_)) {
        keep_memory();
    }
    let mode = match (cli.quiet, cli.json) {
        (true, _) => Mode::Quiet,
        (_, true) => Mode::Json,
        _ => Mode::Auto,
    };
    // The first Ctrl-C asks for an orderly stop; the second one does not wait for it. Nor does a command that has nothing to save.
    let saves = match &cli.command {
        Command::Run(_) | Command::Resume(_) | Command::Data(_) => true,
        Command::Epidemic(command) => command.saves(),
        Command::Masking(command) => command.saves(),
        _ => false,
    };
    let handler = move || {
        if interrupt::requested() {
            std::process::exit(130);
        }
        interrupt::request();
        if !saves {
            std::thread::sleep(ORDERLY);
            output::error(&"error: stopped on request");
            std::process::exit(130);
        }
    };
    let _ = ctrlc::set_handler(handler);
    lyceum_train::parallel::enlist_this_thread();
    match dispatch(cli.command, &Progress::new(mode)) {
        Ok(()) => 0,
        Err(error) => {
            let code = error.exit_code();
            let diagnostic = Diagnostic::new(error);
            if cli.json {
                say!("{}", diagnostic.json());
            }
            output::error(&diagnostic.text());
            code
        }
    }
}

fn dispatch(command: Command, progress: &Progress) -> Result<()> {
    match command {
        Command::Run(command) => command.execute(progress)?,
        Command::Resume(command) => command.execute(progress)?,
        Command::List(_) => commands::list::List::execute(progress),
        Command::Explain(command) => command.execute(progress)?,
        Command::Report(command) => command.execute(progress)?,
        Command::Data(command) => command.execute(progress)?,
        Command::Model(command) => command.execute(progress)?,
        Command::Predict(command) => command.execute(progress)?,
        Command::Export(command) => command.execute(progress)?,
        Command::Shrink(command) => command.execute(progress)?,
        Command::Conformal(command) => command.execute(progress)?,
        Command::Active(command) => command.execute(progress)?,
        Command::Masking(command) => command.execute(progress)?,
        Command::Epidemic(command) => command.execute(progress)?,
        Command::Completions(command) => command.execute(),
        Command::Man(command) => command.execute()?,
    }
    Ok(())
}
