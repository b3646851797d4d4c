//! `dist` is what the sources make, as far as that can be seen without a Wasm toolchain.

use std::fs;

use build_modules::{Error, MODULES, check_manifest, imports, root};

#[test]
fn dist_comes_from_the_sources() {
    check_manifest(&root()).expect("`cargo run -p build-modules -- build` makes it so");
}

#[test]
fn built_in_modules_import_nothing() {
    for module in &MODULES {
        let component = fs::read(module.path(&root())).expect("a built module");
        assert_eq!(
            imports(&component).expect("a component"),
            [""; 0],
            "{}",
            module.name
        );
    }
}

#[test]
fn what_is_no_component_is_an_error() {
    assert!(matches!(imports(b"no module"), Err(Error::Component(_))));
}
