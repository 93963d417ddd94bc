//! From an error to one line on stderr and an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;

/// The exit code of what the user can mend.
pub(crate) const MISTAKE: u8 = 1;
/// The exit code of a defect of the program.
pub(crate) const INTERNAL: u8 = 2;
/// The exit code after an interrupt.
pub(crate) const INTERRUPTED: i32 = 130;

/// Says what went wrong in a command.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed) {
        return ExitCode::SUCCESS;
    }
    say(&one_line(&error.to_string()));
    ExitCode::from(if is_defect(error) { INTERNAL } else { MISTAKE })
}

/// Says what is wrong with the command line, or prints the help that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Who closes the pipe has read enough.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(MISTAKE)
        }
        _ => {
            say(&usage_line(error));
            ExitCode::from(MISTAKE)
        }
    }
}

/// A panic says one line, too; the exit code is [`INTERNAL`].
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().map(ToString::to_string);
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        say(&one_line(&format!("defect of the program{place}: {message}; please report it")));
    }));
}

/// A message of several lines on one, without pictures of the place that TOML's reader draws.
pub(crate) fn one_line(message: &str) -> String {
    let mut line = String::new();
    for part in message.lines().map(str::trim).filter(|part| !part.is_empty() && !is_picture(part)) {
        let joint = match line.chars().last() {
            None => "",
            Some(':' | ';' | ',') => " ",
            _ if part.starts_with("in `") => " ",
            _ if part.starts_with("or ") => ", ",
            _ if line.contains("parse error at") => ": ",
            _ => "; ",
        };
        line.push_str(joint);
        line.push_str(part);
    }
    line
}

/// `12 | temperatur = 1` and the arrows under it.
fn is_picture(line: &str) -> bool {
    line.split_once('|').is_some_and(|(number, _)| number.trim().chars().all(|c| c.is_ascii_digit()))
}

fn is_defect(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref::<lldm_diffusion::Error>(), Some(lldm_diffusion::Error::Contract { .. }))
            || matches!(
                cause.downcast_ref::<lldm::Error>(),
                Some(lldm::Error::Diffusion(lldm_diffusion::Error::Contract { .. }))
            )
    })
}

/// The parser's message on one line: what is wrong, a near word, where to read more.
fn usage_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let mut paragraphs = text.split("\n\n");
    let mut line = one_line(paragraphs.next().unwrap_or_default()).replace("; [possible values", " [possible values");
    let tips = paragraphs.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("tip: "));
    for tip in tips.filter(|tip| !tip.contains("to pass")) {
        line.push_str("; ");
        line.push_str(tip);
    }
    if line.contains("did you mean") {
        return line;
    }
    // The parser does not always know in which command it stood; the first word is a command's name or it is none.
    let program = crate::arguments::Cli::command();
    let command = std::env::args().nth(1).filter(|word| program.find_subcommand(word).is_some());
    match command {
        Some(command) => format!("{line}; see `lldm {command} --help`"),
        None => format!("{line}; see `lldm --help`"),
    }
}

fn say(line: &str) {
    // Without a reader there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "error: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_several_lines_are_joined() {
        assert_eq!(one_line("all good"), "all good");
        let toml = "recipe a.toml: TOML parse error at line 2, column 5\n  |\n2 | a = \n  |     ^\ninvalid string\n";
        assert_eq!(one_line(toml), "recipe a.toml: TOML parse error at line 2, column 5: invalid string");
        assert_eq!(one_line("not found\nget it\nor make it\n"), "not found; get it, or make it");
        assert_eq!(one_line("unknown field `a`\nin `train`\n"), "unknown field `a` in `train`");
    }

    #[test]
    fn a_defect_is_told_from_a_mistake() {
        let defect = lldm_diffusion::Error::Contract { message: String::new() };
        assert!(is_defect(&lldm::Error::from(defect).into()));
        assert!(!is_defect(&lldm_diffusion::Error::setting("a", 0, "b").into()));
    }
}
