// Package cli turns a table of commands into a command line: flags, help, suggestions, exit status.
//
// # Place
//
// Between main and the commands. A command is a plain [Command] value over the standard library's flag
// package; cobra, which parses and dispatches, is known to this package alone. [Main] is called once, by
// main, with the whole table: nothing registers itself.
//
// # Idea
//
// A command line is an interface, so it has one style, kept in one place:
//
//   - Flags are GNU's (--cpus 2, --cpus=2, -h) and end at the first argument or at --, so that
//     "run -- uname -a" and "run uname -a" never mistake the guest's flags for ours. Where no
//     argument is another program's, they may stand behind arguments (FlagsBehind).
//   - "help", "help NAME" and "NAME --help" teach: usage, what it does, examples, flags with defaults.
//   - An error is one line on standard error, "program: command: what; what to do". No capital
//     letter, no period, no usage text behind it.
//   - The exit status is 0, 1 for a failure, 2 for a wrong call, whatever an [ExitStatus] says, and
//     128 plus the signal's number for a command that an interrupt ended.
//   - The first SIGINT or SIGTERM ends the command's context; the second one has its default action.
//
// # Invariants
//
//   - Only [Main] ends up in an exit status; commands return errors and never call os.Exit.
//   - Standard output carries only what the user asked for, help included; complaints go to standard error.
//   - A message to the user is one line, whatever text an error holds.
//
// # Limits
//
//   - Commands have no sub-commands of their own: what would be one is an argument.
//   - Help is wrapped for 80 columns and does not ask the terminal for its width.
package cli
