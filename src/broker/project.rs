//! The project that agents' commands may run in, and the places in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use secretctl_runner::WorkingDirectory;

use super::agent::AgentDoor;
use super::{RunError, reach};
use crate::policy::Workdir;

/// Why a directory is refused. What lies elsewhere might as well not exist.
const NOT_IN_PROJECT: &str = "it is not a directory in the project";

/// The server's project: a directory, but neither `/` nor the home directory or one around it, and neither in the vault's nor
/// around that: a command could move what lies in the project, and the policy file with it.
pub(super) struct Project {
    root: Result<PathBuf, String>,
}

/// Where a program is looked up and where it runs.
pub(super) struct Place {
    /// A bare name or an absolute path.
    pub(super) program: String,
    /// The same for policy: a path in the project begins with `./`.
    pub(super) requested: String,
    /// Relative to the project's root; none when no directory was asked for.
    pub(super) directory: Option<String>,
    /// The same, canonical.
    pub(super) absolute: Option<PathBuf>,
}

impl Project {
    /// Takes `dir`, if that can be a project. If not, only what needs one is refused.
    pub(super) fn new(dir: &Path, kept: &[PathBuf]) -> Self {
        let root = reach::project(dir, kept)
            .map_err(|closed| format!("the server has no project: {} {closed}", dir.display()));
        Self { root }
    }

    /// Takes the first of `dirs` that can be a project.
    fn first(dirs: &[PathBuf], kept: &[PathBuf]) -> Self {
        let mut projects = dirs.iter().map(|dir| Self::new(dir, kept));
        let first = projects.next().unwrap_or(Self {
            root: Err("the client's roots are no directories of this machine".to_owned()),
        });
        let is_project = |project: &Self| project.root.is_ok();
        if is_project(&first) {
            return first;
        }
        projects.find(is_project).unwrap_or(first)
    }

    /// Understands the program of a command line and the directory asked for. A program in the project implies its root.
    pub(super) fn place(&self, program: &str, cwd: Option<&str>) -> Result<Place, RunError> {
        let relative = program.contains('/') && !program.starts_with('/');
        if cwd.is_none() && !relative {
            let program = program.to_owned();
            return Ok(Place {
                requested: program.clone(),
                program,
                directory: None,
                absolute: None,
            });
        }
        let root = self.root()?;
        let directory = below(root, &root.join(cwd.unwrap_or(".")))?;
        if !directory.is_dir() {
            return Err(RunError::Directory(NOT_IN_PROJECT.to_owned()));
        }
        let inside = |path: &Path| {
            let path = path.strip_prefix(root).unwrap_or(path);
            path.to_string_lossy().into_owned()
        };
        let mut place = Place {
            program: program.to_owned(),
            requested: program.to_owned(),
            directory: Some(inside(&directory)),
            absolute: Some(directory.clone()),
        };
        if relative {
            // Policy judges the place below the project's root, however it was written.
            let not_found = |_| RunError::ProgramNotFound(program.to_owned());
            let path = below(root, &directory.join(program)).map_err(not_found)?;
            place.program = path.to_string_lossy().into_owned();
            place.requested = format!("./{}", inside(&path));
        }
        Ok(place)
    }

    /// The directory in which the command runs.
    pub(super) fn working_directory(
        &self,
        place: &Place,
        default: Workdir,
    ) -> Result<WorkingDirectory, RunError> {
        let relative = match (&place.directory, default) {
            (None, Workdir::Temporary) => return Ok(WorkingDirectory::Temporary),
            (None, Workdir::Project) => "",
            (Some(directory), _) => directory,
        };
        Ok(WorkingDirectory::At(self.root()?.join(relative)))
    }

    /// The project's root, canonical.
    pub(super) fn root(&self) -> Result<&Path, RunError> {
        match &self.root {
            Ok(root) => Ok(root),
            Err(fact) => Err(RunError::Directory(fact.clone())),
        }
    }
}

impl AgentDoor {
    /// The project that these roots mean, or without them the door's own. It stays what it was when the roots were new, whatever
    /// is put in its place meanwhile.
    pub(super) fn project(&self, roots: Option<&[PathBuf]>) -> Arc<Project> {
        let Some(roots) = roots else {
            return Arc::clone(&self.project);
        };
        let mut last = self.of_roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, project)) = &*last
            && known == roots
        {
            return Arc::clone(project);
        }
        let project = Arc::new(Project::first(roots, &self.broker.judge.kept));
        if project.root.is_ok() {
            *last = Some((roots.to_vec(), Arc::clone(&project)));
        }
        project
    }
}

/// The canonical path, if it is the root or lies below it.
fn below(root: &Path, path: &Path) -> Result<PathBuf, RunError> {
    let canonical = fs::canonicalize(path)
        .ok()
        .filter(|path| path.starts_with(root));
    canonical.ok_or_else(|| RunError::Directory(NOT_IN_PROJECT.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn fixture() -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("sub")).expect("writable");
        fs::write(dir.path().join("sub/deploy.sh"), "").expect("writable");
        symlink("/etc", dir.path().join("out")).expect("writable");
        let project = Project::new(dir.path(), &["/nonexistent/vault".into()]);
        (dir, project)
    }

    #[test]
    fn a_project_is_a_directory_of_its_own() {
        let vault = tempfile::tempdir().expect("a temporary directory");
        let vault = vault.path();
        let home = std::env::home_dir().expect("a home directory");
        for dir in ["/", "/nonexistent/project"]
            .iter()
            .map(Path::new)
            .chain([vault, &*home])
        {
            let project = Project::new(dir, &[vault.to_owned()]);
            assert!(project.place("./x", None).is_err(), "{dir:?}");
            assert!(project.place("npm", None).is_ok(), "{dir:?}");
        }
    }

    #[test]
    fn a_program_in_the_project_is_named_from_its_root() {
        let (_dir, project) = fixture();
        for (program, cwd, directory) in [
            ("./sub/deploy.sh", None, ""),
            ("./deploy.sh", Some("sub"), "sub"),
            ("sub/../sub/deploy.sh", Some("."), ""),
        ] {
            let place = project.place(program, cwd).expect("it is there");
            assert_eq!(place.requested, "./sub/deploy.sh", "{program}");
            assert!(place.program.ends_with("/sub/deploy.sh") && place.program.starts_with('/'));
            assert_eq!(place.directory.as_deref(), Some(directory));
        }
    }

    #[test]
    fn nothing_outside_of_the_project_can_be_named() {
        let (_dir, project) = fixture();
        for cwd in ["..", "out", "/etc", "/", "missing", "sub/deploy.sh"] {
            let error = project
                .place("npm", Some(cwd))
                .err()
                .expect("refused")
                .to_string();
            assert!(error.ends_with(NOT_IN_PROJECT), "{cwd}: {error}");
        }
        for program in ["../x", "./out/passwd", "./missing"] {
            assert!(project.place(program, None).is_err(), "{program}");
        }
    }

    #[test]
    fn a_command_runs_where_it_was_asked_for() {
        let (dir, project) = fixture();
        let root = fs::canonicalize(dir.path()).expect("it exists");
        let directory = |cwd, default| {
            let place = project.place("npm", cwd).expect("in the project");
            project
                .working_directory(&place, default)
                .expect("there is a project")
        };
        assert_eq!(
            directory(None, Workdir::Temporary),
            WorkingDirectory::Temporary
        );
        assert_eq!(
            directory(None, Workdir::Project),
            WorkingDirectory::At(root.join(""))
        );
        assert_eq!(
            directory(Some("sub"), Workdir::Temporary),
            WorkingDirectory::At(root.join("sub"))
        );
    }
}
