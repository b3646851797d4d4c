//! The two worlds, as `wit_bindgen` reads them. Public for the export macros alone.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    reason = "generated from the interface, whose items have their documentation"
)]

pub mod policy {
    wit_bindgen::generate!({
        path: "../wit",
        world: "policy",
        pub_export_macro: true,
        export_macro_name: "export_world_policy",
        additional_derives: [PartialEq, Eq],
    });
}

pub mod sanitizer {
    wit_bindgen::generate!({
        path: "../wit",
        world: "sanitizer",
        pub_export_macro: true,
        export_macro_name: "export_world_sanitizer",
        additional_derives: [PartialEq, Eq],
    });
}
