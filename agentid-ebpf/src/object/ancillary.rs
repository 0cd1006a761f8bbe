//! What travels with a message.

use agentid_common::{
    facts::{Facts, Flow, Turn},
    sockopt::{NOWHERE, device_at, may_carry},
};

use super::peer::Asked;
use crate::{
    facts::Live,
    kfield::{Message, read_into},
};

/// include/linux/socket.h: `struct cmsghdr`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    length: u64,
    level: i32,
    kind: i32,
}

const HEADER: u64 = size_of::<Header>() as u64;
/// More than any program sends with one message.
const MOST: u32 = 32;

/// What is asked by a message that asks for this, with what travels with it.
///
/// It is the kernel's own copy by now, in the layout of 64 bits (net/socket.c: `____sys_sendmsg`).
#[inline(always)]
pub fn with_what_travels(message: Message, asked: Asked) -> Asked {
    let length = message.control_length();
    // No more than that may be known of the length: 6.1 looks at one turn only, and leaves out of the loop what it takes for
    // impossible there (kernel/bpf/verifier.c: `set_loop_callback_state`), such as the end of what travels.
    if length == 0 {
        return asked;
    }
    let mut pieces =
        Pieces { at: message.control(), left: length, asked: Asked::Denied, all: asked };
    if Live.repeat(MOST, &mut pieces).is_err() {
        return Asked::Unlooped;
    }
    pieces.asked
}

/// From one piece to the next.
struct Pieces {
    at: u64,
    left: u64,
    /// A denial until the last piece has been seen.
    asked: Asked,
    /// What is asked when all of them may travel.
    all: Asked,
}

impl Turn for Pieces {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> Flow {
        // As the kernel goes on (include/linux/socket.h: `__cmsg_nxthdr`).
        if self.left < HEADER {
            self.asked = self.all;
            return Flow::Stop;
        }
        let mut header = Header { length: 0, level: 0, kind: 0 };
        if !read_into(&mut header, self.at) {
            self.asked = Asked::Unread;
            return Flow::Stop;
        }
        if header.length < HEADER || header.length > self.left {
            // The kernel would refuse the message for it.
            return Flow::Stop;
        }
        if !may_carry(header.level, header.kind) {
            return Flow::Stop;
        }
        // By another device a packet would go another way, as by the socket options that are denied.
        let at = device_at(header.level, header.kind);
        if at != NOWHERE {
            let mut device = 0_u32;
            if !read_into(&mut device, self.at.wrapping_add(HEADER + at)) {
                self.asked = Asked::Unread;
                return Flow::Stop;
            }
            if device != 0 {
                return Flow::Stop;
            }
        }
        let step = header.length.wrapping_add(7) & !7;
        self.at = self.at.wrapping_add(step);
        self.left = self.left.saturating_sub(step);
        Flow::GoOn
    }
}
