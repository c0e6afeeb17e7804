#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

// Lanes and jobs.

// Manners: what stands around a call.
