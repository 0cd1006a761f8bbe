//! Layouts, asserted when either side is compiled.
//!
//! For every type that crosses the boundary: its size, its alignment, the offset of each field, and that the fields
//! fill it, so that no padding carries kernel memory out or differs between compilers. The same table is printed as
//! a golden file and compared with the BTF of the built object.

/// One field of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLayout {
    pub name: &'static str,
    pub offset: usize,
    pub size: usize,
}

/// One type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub name: &'static str,
    pub size: usize,
    pub align: usize,
    pub fields: &'static [FieldLayout],
}

const fn filled(layout: &Layout) -> bool {
    let mut end = 0;
    let mut index = 0;
    while index < layout.fields.len() {
        if layout.fields[index].offset != end {
            return false;
        }
        end += layout.fields[index].size;
        index += 1;
    }
    end == layout.size
}

macro_rules! layouts {
    ($($type:ty as $name:literal [$size:literal] { $($field:ident: $ftype:ty,)* })*) => {
        /// Every type of the ABI.
        pub const LAYOUTS: &[Layout] = &[$(Layout {
            name: $name,
            size: size_of::<$type>(),
            align: align_of::<$type>(),
            fields: &[$(FieldLayout {
                name: stringify!($field),
                offset: core::mem::offset_of!($type, $field),
                size: size_of::<$ftype>(),
            },)*],
        },)*];

        $(
            const _: () = assert!(size_of::<$type>() == $size, concat!($name, " has changed its size"));
            // The types of the fields are those of the struct.
            const _: fn(&$type) = |value| { $(let _: &$ftype = &value.$field;)* };
        )*
    };
}

const _: () = {
    let mut index = 0;
    while index < LAYOUTS.len() {
        assert!(filled(&LAYOUTS[index]), "a type of the ABI has padding");
        assert!(LAYOUTS[index].align <= 8, "a type of the ABI is over-aligned");
        index += 1;
    }
};

use crate::{
    capability::Capabilities,
    file::{
        AnchorKey, EdgeKey, Entry, EntryKey, Glob, HEADS, Identity, MAX_GLOB, Node, RIGHTS, Rights,
    },
    instance::{Activity, Instance, Ladder, State},
    map::{Adoption, Host, Resolver},
    name::NameKey,
    net::{Address, Asker, PINS_EACH, PeerKey, Pin, Pins, PortKey, PortRule},
    record::{
        ExecBody, ExecRecord, FileBody, FileRecord, Header, MAX_ARGUMENTS, MAX_PATH, MAX_SCRIPT,
        PeerBody, PeerRecord, PlainRecord, ShareLine, SocketLine, TaskLine,
    },
    tag::{InvocationId, Tag},
    verdict::Mode,
};

layouts! {
    Tag as "Tag" [32] { generation: u64, slot: u32, mark: u32, invocation: InvocationId, }
    Instance as "Instance" [96] {
        generation: u64, deadline: u64, policy: u64, params: u64, bond: u64, capabilities: Capabilities,
        parent_generation: u64, parent: u32, state: State, mode: Mode, ladder: Ladder, invocation: InvocationId,
        names: u32, reserved: u32,
    }
    Activity as "Activity" [64] {
        sequence: u64, live: u64, started: u64, allowed: u64, denied: u64, faults: u64, lost: u64, tripped: u64,
    }
    AnchorKey as "AnchorKey" [24] { filesystem: u64, inode: u64, generation: u32, kind: u32, }
    EntryKey as "EntryKey" [16] { scope: u64, anchor: u32, reserved: u32, }
    Entry as "Entry" [16] { states: [u32; HEADS], }
    EdgeKey as "EdgeKey" [16] { name: u64, state: u32, kind: u32, }
    Glob as "Glob" [72] { next: u32, length: u32, bytes: [u8; MAX_GLOB], }
    Node as "Node" [48] {
        allow: Rights, deny: Rights, other: u32, globs: u32, edges: u32, reserved: u32, allow_rule: [u16; RIGHTS],
        deny_rule: [u16; RIGHTS],
    }
    Identity as "Identity" [32] { filesystem: u64, inode: u64, magic: u64, generation: u32, flags: u32, }
    NameKey as "NameKey" [16] { k0: u64, k1: u64, }
    Host as "Host" [40] { abi: u32, arguments: u32, names: NameKey, filesystems: u64, rename_lock: u64, }
    Adoption as "Adoption" [48] { group: u64, tag: Tag, undo: u32, reserved: u32, }
    Resolver as "Resolver" [16] { namespace: u64, port: u32, reserved: u32, }
    PeerKey as "PeerKey" [24] { scope: u64, address: Address, }
    PortKey as "PortKey" [8] { class: u32, verb: u8, protocol: u8, port: [u8; 2], }
    PortRule as "PortRule" [4] { rule: u16, deny: u16, }
    Pin as "Pin" [24] { until: u64, pattern: u64, class: u32, reserved: u32, }
    Pins as "Pins" [120] { key: PeerKey, list: [Pin; PINS_EACH as usize], }
    Asker as "Asker" [32] { generation: u64, slot: u32, at: u32, address: Address, }
    Header as "Header" [96] {
        time: u64, sequence: u64, generation: u64, invocation: InvocationId, slot: u32, kind: u32, hook: u32,
        verdict: u32, reason: u32, fault: u32, rule: u16, above: u16, tgid: u32, tid: u32, uid: u32, comm: [u8; 16],
    }
    FileBody as "FileBody" [1040] { want: u32, length: u32, filesystem: u64, path: [u8; MAX_PATH], }
    PeerBody as "PeerBody" [24] {
        address: Address, family: u16, port: u16, protocol: u8, verb: u8, level: u16,
    }
    ExecBody as "ExecBody" [784] {
        count: u32, length: u32, left_out: u32, script_length: u32, script: [u8; MAX_SCRIPT],
        arguments: [u8; MAX_ARGUMENTS],
    }
    PlainRecord as "PlainRecord" [96] { header: Header, }
    FileRecord as "FileRecord" [1136] { header: Header, body: FileBody, }
    ExecRecord as "ExecRecord" [1920] { header: Header, body: FileBody, exec: ExecBody, }
    PeerRecord as "PeerRecord" [120] { header: Header, body: PeerBody, }
    TaskLine as "TaskLine" [24] { generation: u64, slot: u32, tgid: u32, tid: u32, reserved: u32, }
    ShareLine as "ShareLine" [48] { memory_at: u64, descriptors_at: u64, folder_at: u64, tgid: u32, tid: u32, memory: u32, descriptors: u32, folder: u32, ring: u32, }
    SocketLine as "SocketLine" [80] {
        generation: u64, cookie: u64, slot: u32, mark: u32, own: Address, peer: Address, own_port: u16, peer_port: u16,
        family: u16, kind: u16, protocol: u16, state: u16, device: u32, orphan: u32, reserved: u32,
    }
}
