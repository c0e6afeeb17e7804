//! The program as people and service managers meet it: typed commands, exit statuses, HTTP, signals.

mod budget;
mod config;
mod parts;
mod restart;
mod running;
mod serve;
