//! May this run say this to the kernel?
//!
//! `int netlink_send(struct sock *sk, struct sk_buff *skb)`, from 6.1 to 7.3: net/netlink/af_netlink.c, `netlink_sendmsg`,
//! for each call, with a copy of what was sent.
//! Cannot see: to which socket it goes: a run may send what it may send to another process too.
//!
//! One call may bring several messages, and the kernel carries out one after the other (`netlink_rcv_skb`); so each of
//! them is looked at.

use agentid_common::{
    decide::lifecycle::may_go_on,
    facts::{Facts, Flow, Turn},
    netlink::{HEADER, Header, MAX_MESSAGES, is_free},
    record::PeerBody,
    socket::AF_NETLINK,
    verdict::{Answer, Fault, Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::{self, Buffer, Sock},
    object::Object,
    settle::{Allowed, conclude},
    subject,
};

#[lsm(hook = "netlink_send")]
pub fn netlink_send(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else {
        return 0;
    };
    let (sock, buffer) = (Sock(ctx.arg(0)), Buffer(ctx.arg(1)));
    let mut messages = Messages {
        protocol: sock.protocol(),
        at: buffer.data(),
        left: buffer.length(),
        kind: 0,
        answer: Err(Refusal::denied(Reason::Netlink)),
    };
    let answer = may_go_on(&Live, tag).and_then(|_| messages.judge());
    let object = Object::Peer(PeerBody {
        family: AF_NETLINK,
        protocol: u8::try_from(messages.protocol).unwrap_or(u8::MAX),
        port: messages.kind,
        ..PeerBody::default()
    });
    conclude(Hook::NetlinkSend, Allowed::Counted, &object, tag, answer)
}

/// What one call brings.
struct Messages {
    protocol: u16,
    /// Address of the next message.
    at: u64,
    /// Bytes from there on.
    left: u32,
    /// The kind of the message that was looked at last.
    kind: u16,
    /// A refusal until all of them have been found free.
    answer: Answer,
}

impl Messages {
    #[inline(always)]
    fn judge(&mut self) -> Answer {
        Live.repeat(MAX_MESSAGES, self)?;
        self.answer
    }

    /// Looks at the next message; whether it was the last.
    #[inline(always)]
    fn next(&mut self) -> Result<bool, Refusal> {
        let mut header = Header::default();
        let room = (&raw mut header).cast();
        if !kfield::read(room, size_of::<Header>() as u32, self.at) {
            return Err(Fault::AddressRead.into());
        }
        self.kind = header.kind;
        let step = header.step(self.left).ok_or(Refusal::denied(Reason::Netlink))?;
        if !is_free(self.protocol, header.kind) {
            return Err(Refusal::denied(Reason::Netlink));
        }
        self.at = self.at.wrapping_add(u64::from(step));
        self.left = self.left.wrapping_sub(step);
        Ok(self.left < HEADER)
    }
}

impl Turn for Messages {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> Flow {
        match self.next() {
            Ok(false) => Flow::GoOn,
            Ok(true) => {
                self.answer = Ok(0);
                Flow::Stop
            }
            Err(refusal) => {
                self.answer = Err(refusal);
                Flow::Stop
            }
        }
    }
}
