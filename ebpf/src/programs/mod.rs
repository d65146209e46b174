//! One file a hook. Each filters first: a thread that is no target costs a look-up in a flat
//! array.

mod event_wait;
mod fault;
mod heap;
mod life;
mod polls;
mod sample;
mod sockets;
mod switch;
mod tasks;
mod wait_stack;
mod wake;
