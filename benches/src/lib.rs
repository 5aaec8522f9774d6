//! What benches share.
//!
//! Two benches work on the store and the models alone, in this process: `capture`, `forecast` (its series: `families`). The third,
//! `peers`, starts three servers and treats them alike: `server` starts and stops them, `fleet` makes what they are fed (`wire`:
//! its bytes), `size` says how much, `feeding` and `asking` do it (`questions`, `answer`), `log_lines` makes and sends log
//! records, `measure` reads what the kernel says, `table` writes it down. The `stage_…` files are the parts of a run, in the order
//! of the report: `stage_sizes`, `stage_memory`, `stage_logs`, `stage_soak`.

pub mod answer;
pub mod asking;
pub mod families;
pub mod feeding;
pub mod fleet;
pub mod log_lines;
pub mod measure;
pub mod questions;
pub mod server;
pub mod size;
pub mod stage_logs;
pub mod stage_memory;
pub mod stage_sizes;
pub mod stage_soak;
pub mod table;
pub mod wire;
