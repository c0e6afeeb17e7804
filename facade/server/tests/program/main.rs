//! The program as people and service managers meet it: typed commands, exit statuses, HTTP, signals.

mod config;
mod running;
mod serve;
