;; Denies with a rule that begins behind the end of its memory.
(module
  (memory (export "memory") 1)
  (global $end (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $end) (i32.const 7)) (i32.const -8)))
    (global.set $end (i32.add (local.get $at) (local.get $size)))
    local.get $at)
  (func (export "secretctl:guard/decisions@0.1.0#configure") (param i32 i32) (result i32)
    i32.const 8) ;; an empty list
  (func (export "secretctl:guard/decisions@0.1.0#decide") (param i32) (result i32)
    i32.const 64)
  (data (i32.const 64) "\02")
  (data (i32.const 72) "\00\ff\ff\ff\10\00\00\00"))
