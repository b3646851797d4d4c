//! The program: [`secretctl::cli::main`].

fn main() -> std::process::ExitCode {
    secretctl::cli::main()
}
