//! Environment variables, read once, at the start: `CAUSEWAY_PORT=8080` is `--port 8080`, for services and containers.
//!
//! A variable becomes the flag it is named after before the command line is parsed, so both are checked by the same rules.
//! What is typed wins: over its own variable, and over the variable of a flag that it excludes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, Command};

/// What the names of all variables begin with.
const PREFIX: &str = "CAUSEWAY_";

/// Flags without a variable. `--force` overwrites files, so somebody must type it. `generate --record` names a file, and
/// the variable is that of `serve`, which names a folder.
const TYPED_ONLY: [(&str, &str); 4] =
    [("generate", "force"), ("generate", "record"), ("load", "force"), ("replay", "force")];

/// The variables that begin with `CAUSEWAY_`. One that is empty counts as not set, as a compose file leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, OsString>,
    notify_socket: Option<OsString>,
}

/// A command line that is ready to be parsed.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program's name first.
    pub arguments: Vec<OsString>,
    /// The variables that became arguments.
    pub used: Vec<String>,
    /// The variables that are named after no flag of any command.
    pub unknown: Vec<String>,
}

impl Environment {
    /// Of this process.
    pub fn read() -> Environment {
        let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Environment { notify_socket: std::env::var_os("NOTIFY_SOCKET"), ..Environment::of(named) }
    }

    fn of(variables: impl IntoIterator<Item = (String, OsString)>) -> Environment {
        let ours = variables.into_iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
        Environment { variables: ours.collect(), notify_socket: None }
    }

    /// Where systemd is told how the service is, if it started this process.
    pub fn notify_socket(&self) -> Option<&OsStr> {
        self.notify_socket.as_deref()
    }

    /// What was typed, with what the variables add. Where no command is named, it is `serve`.
    ///
    /// # Errors
    /// If the variable of a flag without a value says neither yes nor no.
    pub fn complete(&self, mut typed: Vec<OsString>, program: &Command) -> anyhow::Result<CommandLine> {
        let all = program.get_subcommands().flat_map(Command::get_arguments).filter_map(variable);
        let known: Vec<String> = all.collect();
        let unknown = self.variables.keys().filter(|name| !known.contains(name)).cloned().collect();
        let first = typed.get(1).and_then(|word| word.to_str());
        if first.is_none_or(|word| word.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&word)) {
            typed.insert(typed.len().min(1), "serve".into());
        }
        let mut line = CommandLine { arguments: typed, used: Vec::new(), unknown };
        let command = line.arguments.get(1).and_then(|word| program.find_subcommand(word));
        let Some(command) = command else { return Ok(line) };
        // What stands behind `--` is no flag.
        let flags = line.arguments[2..].iter().take_while(|word| *word != "--");
        let flags: Vec<String> = flags.filter_map(|word| Some(word.to_str()?.split('=').next()?.to_owned())).collect();
        let is_typed = |flag: &Arg| flag.get_long().is_some_and(|name| flags.contains(&format!("--{name}")));
        if flags.iter().any(|word| ["-h", "--help"].contains(&word.as_str())) {
            return Ok(line);
        }
        let mut added = Vec::new();
        for flag in command.get_arguments().filter(|flag| !is_typed(flag)) {
            let Some((name, value)) = variable(flag).and_then(|name| self.variables.get_key_value(&name)) else {
                continue;
            };
            let long = flag.get_long().context("a flag with a variable has a name")?;
            let excludes = |one: &Arg, other: &Arg| {
                command.get_arg_conflicts_with(one).iter().any(|excluded| excluded.get_id() == other.get_id())
            };
            let mut others = command.get_arguments().filter(|other| is_typed(other));
            if TYPED_ONLY.contains(&(command.get_name(), long))
                || others.any(|other| excludes(flag, other) || excludes(other, flag))
            {
                continue;
            }
            let values = match flag.get_action() {
                ArgAction::SetTrue if says_yes(name, value)? => {
                    added.push(format!("--{long}").into());
                    Vec::new()
                }
                ArgAction::SetTrue => Vec::new(),
                // A flag that may be given several times. A prompt is text, and may hold a comma.
                ArgAction::Append if long != "prompt" => value
                    .to_str()
                    .map_or(vec![value.clone()], |list| list.split(',').map(|part| part.trim().into()).collect()),
                _ => vec![value.clone()],
            };
            for value in values {
                let mut argument = OsString::from(format!("--{long}="));
                argument.push(value);
                added.push(argument);
            }
            line.used.push(name.clone());
        }
        line.arguments.splice(2..2, added);
        Ok(line)
    }
}

/// The variable of a flag: `CAUSEWAY_CHUNK_MS` of `--chunk-ms`.
fn variable(flag: &Arg) -> Option<String> {
    let long = flag.get_long().filter(|long| !["help", "version"].contains(long))?;
    Some(format!("{PREFIX}{}", long.to_uppercase().replace('-', "_")))
}

fn says_yes(name: &str, value: &OsStr) -> anyhow::Result<bool> {
    match value.to_str().map(str::to_lowercase).as_deref() {
        Some("1" | "true" | "yes" | "on") => Ok(true),
        Some("0" | "false" | "no" | "off") => Ok(false),
        _ => bail!("{name} is neither yes nor no: 1, true, yes, on, or 0, false, no, off are allowed"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::config::flags::Cli;

    /// `typed` without the program's name, and variables without their prefix.
    fn line(typed: &str, variables: &[(&str, &str)]) -> anyhow::Result<CommandLine> {
        let typed = ["causeway"].into_iter().chain(typed.split_whitespace()).map(OsString::from).collect();
        let named = variables.iter().map(|(name, value)| (format!("CAUSEWAY_{name}"), value.into()));
        Environment::of(named).complete(typed, &Cli::command())
    }

    fn check(typed: &str, variables: &[(&str, &str)], expected: &str) {
        let line = line(typed, variables).expect("a command line");
        assert_eq!(line.arguments.join(OsStr::new(" ")).to_str(), Some(format!("causeway {expected}").as_str()));
    }

    #[test]
    fn without_a_command_it_serves() {
        check("", &[], "serve");
        check("--port 8080", &[], "serve --port 8080");
        check("inspect", &[], "inspect");
        check("nonsense", &[], "nonsense");
        check("--help", &[], "--help");
        check("-V", &[], "-V");
    }

    #[test]
    fn a_variable_is_the_flag_it_is_named_after() {
        check("serve", &[("PORT", "8080"), ("CHUNK_MS", "20")], "serve --chunk-ms=20 --port=8080");
        check("", &[("HOST", "0.0.0.0"), ("INSECURE", "yes")], "serve --host=0.0.0.0 --insecure");
        check("serve", &[("INSECURE", "0")], "serve");
        check("serve", &[("PORT", "")], "serve");
        check("serve", &[("PROXY", "::1, 10.0.0.1")], "serve --proxy=::1 --proxy=10.0.0.1");
        check("generate", &[("PROMPT", "a road, at night")], "generate --prompt=a road, at night");
        check("inspect", &[("PORT", "8080")], "inspect");
        let refused = line("serve", &[("INSECURE", "perhaps")]).expect_err("neither yes nor no").to_string();
        assert!(refused.starts_with("CAUSEWAY_INSECURE"), "{refused}");
    }

    #[test]
    fn what_is_typed_wins() {
        check("serve --port 1", &[("PORT", "2")], "serve --port 1");
        check("serve --port=1", &[("PORT", "2")], "serve --port=1");
        check("serve --origin https://a", &[("ORIGIN", "https://b")], "serve --origin https://a");
        // A flag that is typed excludes the variable of another.
        check("serve --world testcard", &[("MODEL", "dir")], "serve --world testcard");
        check("serve --model dir", &[("WORLD", "testcard")], "serve --model dir");
        check("serve --insecure", &[("KEYS", "file")], "serve --insecure");
        check("inspect -- --size", &[("SIZE", "8x8")], "inspect --size=8x8 -- --size");
        check("serve --help", &[("PORT", "none"), ("INSECURE", "perhaps")], "serve --help");
    }

    #[test]
    fn to_overwrite_takes_a_flag_that_is_typed() {
        check("generate", &[("FORCE", "1"), ("RECORD", "walks")], "generate");
        check("serve", &[("RECORD", "walks")], "serve --record=walks");
    }

    #[test]
    fn a_variable_that_no_flag_has_is_told_and_those_that_are_used_are_named() {
        let line = line("serve", &[("PROT", "1"), ("PORT", "2"), ("SEED", "3")]).expect("a command line");
        assert_eq!((line.used, line.unknown), (vec!["CAUSEWAY_PORT".to_owned()], vec!["CAUSEWAY_PROT".to_owned()]));
    }

    /// A flag is as good as its variable: the line that results is parsed by the same rules.
    #[test]
    fn every_flag_of_serve_has_a_variable() {
        let program = Cli::command();
        let serve = program.find_subcommand("serve").expect("a command");
        let flags = serve.get_arguments().filter_map(variable).count();
        assert!(flags > 50, "{flags}");
        let parse = |variables: &[(&str, &str)]| {
            Cli::try_parse_from(line("serve", variables).expect("a command line").arguments)
        };
        parse(&[("SESSIONS", "7"), ("WORLD", "testcard"), ("KEYS", "f"), ("KEY_SESSIONS", "2")]).expect("flags");
        let told = parse(&[("SESSIONS", "many")]).expect_err("no number").to_string();
        assert!(told.contains("'many'") && told.contains("--sessions"), "{told}");
    }

    #[test]
    fn help_shows_no_value_of_a_variable() {
        let typed = vec!["causeway".into(), "serve".into(), "--help".into()];
        let secret = Environment::of([("CAUSEWAY_GUARDRAIL_URL".to_owned(), "http://user:secret@host/".into())]);
        let line = secret.complete(typed, &Cli::command()).expect("a command line");
        let help = Cli::try_parse_from(line.arguments).expect_err("help in place of a command").to_string();
        assert!(help.contains("CAUSEWAY_PORT") && !help.contains("user:secret"), "{help}");
    }
}
