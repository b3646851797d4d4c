;; Has no `decide`; the interface beside it says so too.
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    i32.const 4096)
  (func (export "secretctl:guard/decisions@0.1.0#configure") (param i32 i32) (result i32)
    i32.const 8))
