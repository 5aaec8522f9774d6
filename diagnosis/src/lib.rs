//! Explains: from the rows around an alert to who blocks whom, what changed, and a verdict with reasons and advice.
//!
//! Values in, values out: this room asks nothing itself, stores nothing and reads no clock. What is to be kept, its caller
//! appends. Verdicts are trees written as data (`verdicts/`), over facts that are computed from the evidence or asked for.
//!
//! Reading order: `session` (rows of `activity`) · `blocking` (who waits for whom) · `statement` (what changed between two
//! windows) · `evidence` (everything around one alert) · `facts` (what conditions can refer to) · `deadlock` (both statements of
//! a log record) · `question` (facts a tree asks for) · `verdict` (the trees) · `forecast` (what is to come, how sure, and when
//! it reaches a limit).

pub mod blocking;
mod deadlock;
pub mod evidence;
pub mod facts;
pub mod forecast;
pub mod question;
pub mod session;
pub mod statement;
pub mod verdict;

pub use evidence::Evidence;
pub use verdict::{Finding, Trees};
