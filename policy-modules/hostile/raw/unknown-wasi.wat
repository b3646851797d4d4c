;; Imports a WASI function of another shape than it has.
(module
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    i32.const 4096)
  (func (export "secretctl:guard/decisions@0.1.0#configure") (param i32 i32) (result i32)
    (drop (call 0))
    i32.const 8))
