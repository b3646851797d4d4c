//! The helper program of secretctl. It is started by secretctl and does nothing by itself.

fn main() -> std::process::ExitCode {
    secretctl_runner::jail::main()
}
