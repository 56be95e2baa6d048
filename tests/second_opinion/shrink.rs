//! Makes a world smaller while it still fails: fewer messages, fewer entries in them, fewer rows.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

/// `fails` may panic over a world that no longer hangs together; such a world is passed over.
pub fn shrunk(world: &Value, fails: &dyn Fn(&Value) -> bool) -> Value {
    let fails = |world: &Value| catch_unwind(AssertUnwindSafe(|| fails(world))).unwrap_or(false);
    let mut world = world.clone();
    loop {
        let before = world.to_string().len();
        thin(&mut world, "/messages", &fails);
        for number in 0..world["messages"].as_array().map_or(0, Vec::len) {
            for list in ["devices", "usage", "records"] {
                thin(&mut world, &format!("/messages/{number}/body/{list}"), &fails);
            }
        }
        for list in ["devices", "lines", "vouchers", "products", "enterprises", "gateways"] {
            thin(&mut world, &format!("/register/{list}"), &fails);
        }
        for list in ["rulebooks", "catalogues"] {
            thin(&mut world, &format!("/{list}"), &fails);
        }
        if world.to_string().len() == before {
            return world;
        }
    }
}

/// Drops entries of a list, many at once and then one by one.
fn thin(world: &mut Value, pointer: &str, fails: &dyn Fn(&Value) -> bool) {
    let length = |world: &Value| world.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
    let mut share = length(world).div_ceil(2);
    while share > 0 {
        let mut from = 0;
        while from < length(world) {
            let mut smaller = world.clone();
            let list = smaller.pointer_mut(pointer).and_then(Value::as_array_mut).unwrap();
            let end = (from + share).min(list.len());
            list.drain(from..end);
            if fails(&smaller) {
                *world = smaller;
            } else {
                from = end;
            }
        }
        share /= 2;
    }
}
