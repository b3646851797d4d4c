//! The exports of both worlds.

pub(crate) mod bindings {
    wit_bindgen::generate!({
        path: ["../wit", "wit"],
        world: "secretctl:hostile/hostile",
        generate_all,
    });
}

pub(crate) struct Component;

bindings::export!(Component with_types_in bindings);
