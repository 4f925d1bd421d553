//! A filter the kernel runs on each event before it is queued for us, in classic BPF (`linux/filter.h`): an event we would
//! only throw away costs no copy, no wake-up and no room in the queue.
//!
//! ```text
//! UDP, SCTP                all
//! TCP, translated          new and gone
//! TCP otherwise            nothing
//! ```
//!
//! A short TCP connection is six or seven events without it. When in doubt the filter lets pass: the table knows what to
//! do. Translated is what has the status of it; but IPVS translates without, so where it may, all that is new or gone
//! passes.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use super::parse::{ENTRY_GONE, FAMILY_HEADER_BYTES, attribute, protocol, status};

/// What is to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// IPVS has its connections tracked (`net.ipv4.vs.conntrack`).
    pub has_ipvs: bool,
}

/// One instruction, `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

/// Where a test leads. Jumps of the kernel's BPF go forward only, by a number of instructions; here by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Next,
    Label(Label),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Tcp,
    NewOrGone,
    Accept,
    Drop,
}

/// A step of the program: one instruction, or a name for the next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Do { code: u16, operand: u32 },
    Test { code: u16, operand: u32, yes: To, no: To },
    Here(Label),
}

// Instruction codes of `linux/bpf_common.h`.
const LOAD_CONSTANT: u16 = 0x00;
const LOAD_WORD_AT: u16 = 0x20;
const LOAD_HALF_AT: u16 = 0x28;
const LOAD_WORD_AT_X: u16 = 0x40;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_MEMORY: u16 = 0x60;
const LOAD_X_CONSTANT: u16 = 0x01;
const STORE_MEMORY: u16 = 0x02;
const COPY_TO_X: u16 = 0x07;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

/// `SKF_AD_OFF + SKF_AD_NLATTR`: loading from here finds, from offset A on, the attribute of kind X. 0 if there is none.
const FIND_ATTRIBUTE: u32 = 0xffff_f000 + 12;
/// The same for an attribute nested in the one at offset A.
const FIND_NESTED: u32 = 0xffff_f000 + 16;
/// Size of `struct nlattr`: from an attribute to its value.
const ATTRIBUTE_HEADER_BYTES: u32 = 4;
/// Offsets in `struct nlmsghdr`.
const MESSAGE_TYPE_AT: u32 = 4;
const MESSAGE_FLAGS_AT: u32 = 6;
/// The first attribute, after `struct nlmsghdr` and `struct nfgenmsg`.
const ATTRIBUTES_AT: u32 = 16 + FAMILY_HEADER_BYTES as u32;
/// Scratch memory in which the status is kept.
const STATUS: u32 = 0;
const TRANSLATED: u32 = status::SOURCE_NAT | status::DESTINATION_NAT;
const WHOLE_MESSAGE: u32 = u32::MAX;

/// The program for what is wanted.
fn program(Filter { has_ipvs }: Filter) -> Vec<Step> {
    use Label::{Accept, Drop, NewOrGone, Tcp};
    let mut steps = Vec::new();
    find(&mut steps, &[attribute::STATUS]);
    steps.push(Step::Do { code: LOAD_WORD_AT_X, operand: ATTRIBUTE_HEADER_BYTES });
    steps.push(Step::Do { code: STORE_MEMORY, operand: STATUS });
    find(&mut steps, &[attribute::TUPLE_ORIGINAL, attribute::TUPLE_PROTOCOL, attribute::PROTOCOL_NUMBER]);
    steps.push(Step::Do { code: LOAD_BYTE_AT_X, operand: ATTRIBUTE_HEADER_BYTES });
    steps.push(if_equal(protocol::TCP.into(), To::Label(Tcp), To::Next));
    steps.push(if_equal(protocol::UDP.into(), To::Label(Accept), To::Next));
    steps.push(if_equal(protocol::SCTP.into(), To::Label(Accept), To::Label(Drop)));

    steps.push(Step::Here(Tcp));
    steps.push(Step::Do { code: LOAD_HALF_AT, operand: MESSAGE_TYPE_AT });
    steps.push(if_equal(as_loaded(ENTRY_GONE), To::Label(NewOrGone), To::Next));
    // What is new is created (`NLM_F_CREATE`); an update has no flags.
    steps.push(Step::Do { code: LOAD_HALF_AT, operand: MESSAGE_FLAGS_AT });
    steps.push(if_equal(0, To::Label(Drop), To::Label(NewOrGone)));

    steps.push(Step::Here(NewOrGone));
    let otherwise = if has_ipvs { Accept } else { Drop };
    steps.push(Step::Do { code: LOAD_MEMORY, operand: STATUS });
    steps.push(if_set(TRANSLATED, To::Label(Accept), To::Label(otherwise)));

    steps.push(Step::Here(Drop));
    steps.push(Step::Do { code: RETURN, operand: 0 });
    steps.push(Step::Here(Accept));
    steps.push(Step::Do { code: RETURN, operand: WHOLE_MESSAGE });
    steps
}

/// Puts the offset of an attribute into X: one of the message, then one nested in it, and so on. An event without it
/// passes.
fn find(steps: &mut Vec<Step>, path: &[u16]) {
    steps.push(Step::Do { code: LOAD_CONSTANT, operand: ATTRIBUTES_AT });
    for (depth, kind) in path.iter().enumerate() {
        let operand = if depth == 0 { FIND_ATTRIBUTE } else { FIND_NESTED };
        steps.push(Step::Do { code: LOAD_X_CONSTANT, operand: (*kind).into() });
        steps.push(Step::Do { code: LOAD_WORD_AT, operand });
        steps.push(if_equal(0, To::Label(Label::Accept), To::Next));
    }
    steps.push(Step::Do { code: COPY_TO_X, operand: 0 });
}

fn if_equal(operand: u32, yes: To, no: To) -> Step {
    Step::Test { code: JUMP_IF_EQUAL, operand, yes, no }
}

fn if_set(operand: u32, yes: To, no: To) -> Step {
    Step::Test { code: JUMP_IF_SET, operand, yes, no }
}

/// A number of the netlink header as BPF loads it: in network byte order, whereas netlink has this machine's.
fn as_loaded(number: u16) -> u32 {
    u16::from_be_bytes(number.to_ne_bytes()).into()
}

/// Names become distances.
fn assembled(steps: &[Step]) -> Vec<Instruction> {
    let is_instruction = |step: &&Step| !matches!(step, Step::Here(_));
    let distance = |from: usize, to: To| {
        let To::Label(label) = to else { return 0 };
        let named = |step: &Step| matches!(step, Step::Here(name) if *name == label);
        let after = steps[from..].iter().position(named).expect("every label is below all that jump to it");
        let skipped = steps[from + 1..from + after].iter().filter(is_instruction).count();
        u8::try_from(skipped).expect("the program is shorter than 256 instructions")
    };
    let instruction = |(at, step): (usize, &Step)| match *step {
        Step::Here(_) => None,
        Step::Do { code, operand } => Some(Instruction { code, jump_true: 0, jump_false: 0, operand }),
        Step::Test { code, operand, yes, no } => {
            Some(Instruction { code, jump_true: distance(at, yes), jump_false: distance(at, no), operand })
        }
    };
    steps.iter().enumerate().filter_map(instruction).collect()
}

/// Has the kernel filter what `socket` gets from now on; replaces the filter it has.
///
/// # Errors
/// As setsockopt(2).
pub(super) fn attach(socket: impl AsFd, filter: Filter) -> Result<(), Errno> {
    let mut instructions = assembled(&program(filter));
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).expect("the program is shorter than 256 instructions"),
        filter: instructions.as_mut_ptr().cast(),
    };
    // SAFETY: the pointers are to `program`, which is of that size, and from there to as many instructions as it says;
    // `Instruction` is laid out as `sock_filter`. The kernel copies both and keeps no pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)) }
}

#[cfg(test)]
mod tests;
