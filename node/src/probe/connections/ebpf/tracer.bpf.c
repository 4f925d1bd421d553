/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Counts the TCP connections that end on this machine, with who opened them, inside the kernel.
 *
 * The tracer is at the tracepoint that every change of a TCP socket's state passes:
 *
 *     CLOSE -> SYN_SENT          a process connects: remember it by the socket
 *     LISTEN -> SYN_RECV         a client knocks: remember that it is incoming
 *     CLOSE <-> LISTEN           a server comes or goes: wake user space
 *     ... -> ESTABLISHED         is this relation new? then wake user space
 *     ESTABLISHED -> FIN_WAIT1   a process shuts its end: the server's, if we did not know it
 *     CLOSE_WAIT -> LAST_ACK     likewise
 *     ... -> CLOSE               add it up in `ended`, if it ever was established
 *
 * Most of these happen while a packet comes in, in whichever task that interrupted: `current` then is a bystander. A
 * task that works on a socket holds its lock as owner (`sk_lock.owned`), and a packet that comes in meanwhile waits for
 * it. So the current task is believed only if the lock is owned.
 *
 * TIME_WAIT is no state of such a socket: a smaller one takes its place, and this one goes to CLOSE at once.
 */

#include "kernel.h"

/* The program asks the kernel for functions that are for licences compatible with the GPL. */
char LICENSE[] SECTION("license") = "GPL";

/* The pid namespace of the processes we tell of, by inode. Set at load. */
volatile const u32 PID_NAMESPACE = 0;

/* Pid namespaces above each other; the kernel's own bound (MAX_PID_NS_LEVEL). */
#define PID_LEVELS_MAX 32
#define ANCESTORS_MAX 3
/* A relation is news again after as many drains without a new connection. */
#define NEWS_AGAIN 16

/* Sockets we remember: 80 bytes each. Beyond it the longest idle one is forgotten, and ends as one from before us. */
#define SOCKETS_MAX 65536
/* Processes whose ancestry we remember: 144 bytes each. Beyond it the longest unused one is forgotten. */
#define TASKS_MAX 8192
/* Relations that ended connections can have between two drains: 160 bytes each while in use. The rest is lost, counted. */
#define ENDED_MAX 16384
/* Relations known not to be news: 8 bytes each. Two that share a slot wake us more often than they need to. */
#define SLOTS_MAX 8192
#define RING_BYTES 32768

/* States of connections that were established. */
#define CONNECTED                                                                                                      \
	(1 << TCP_ESTABLISHED | 1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_CLOSING | 1 << TCP_CLOSE_WAIT |     \
	 1 << TCP_LAST_ACK)

enum direction {
	UNKNOWN, /* it was there before us, or we forgot it */
	INCOMING,
	OUTGOING,
};

/* As `decode.rs` reads them; nothing between two fields, for these are compared byte by byte. */
struct process {
	u64 start_ns;
	u32 pid; /* 0: none */
	u32 zero;
};

struct task {
	struct process ancestors[ANCESTORS_MAX];
	char name[16];
};

struct relation {
	struct process process;
	u8 local[16];
	u8 remote[16];
	u32 netns;
	u16 local_port; /* ports as they are on the wire; 0: the client's, of no interest */
	u16 remote_port;
	u64 direction;
};

struct figures {
	u64 count;
	u64 sent;
	u64 received;
	u64 retransmits;
	u64 rtt_us; /* the last one's; 0: never measured */
};

enum counter {
	EVENTS,       /* changes of state looked at */
	LOST_SOCKETS, /* not remembered who opened it */
	LOST_TASKS,   /* not remembered who its ancestors are */
	LOST_ENDED,   /* not counted */
	LOST_NEWS,    /* the ring was full: user space is awake, and finds this one at its beat */
	COUNTERS,
};

/* What is remembered of a socket. */
struct opened {
	struct process process;
	u32 direction;
	u32 foreign; /* by a process of another pid namespace: another host's */
};

struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, SOCKETS_MAX);
	TYPE(key, struct sock *);
	TYPE(value, struct opened);
} sockets SECTION(".maps");

struct {
	NUMBER(type, LRU_HASH);
	NUMBER(max_entries, TASKS_MAX);
	TYPE(key, struct process);
	TYPE(value, struct task);
} tasks SECTION(".maps");

struct ended_map {
	NUMBER(type, HASH);
	NUMBER(map_flags, BPF_F_NO_PREALLOC);
	NUMBER(max_entries, ENDED_MAX);
	TYPE(key, struct relation);
	TYPE(value, struct figures);
} ended_a SECTION(".maps"), ended_b SECTION(".maps");

/* The one of the two that is written to. User space reads the other. */
struct {
	NUMBER(type, ARRAY_OF_MAPS);
	NUMBER(max_entries, 1);
	NUMBER(key_size, 4);
	NUMBER(value_size, 4);
	struct ended_map *values[];
} ended SECTION(".maps");

/* Drains so far. Written by user space. */
struct {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u32);
} drains SECTION(".maps");

/* By hash of relation: the rest of the hash, and the drain after which it had its last new connection. */
struct {
	NUMBER(type, ARRAY);
	NUMBER(max_entries, SLOTS_MAX);
	TYPE(key, u32);
	TYPE(value, u64);
} slots SECTION(".maps");

/* Network namespaces with something new. */
struct {
	NUMBER(type, RINGBUF);
	NUMBER(max_entries, RING_BYTES);
} news SECTION(".maps");

struct {
	NUMBER(type, PERCPU_ARRAY);
	NUMBER(max_entries, COUNTERS);
	TYPE(key, u32);
	TYPE(value, u64);
} counters SECTION(".maps");

INLINE void count(u32 counter)
{
	u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		*value += 1; /* each CPU has its own */
}

/* The pid of a process as our pid namespace sees it; 0 if it does not. */
INLINE u32 pid_of(struct task_struct *leader)
{
	struct pid *pid = leader->thread_pid;
	u32 level = pid->level;

	/* Unrolled it would be most of the program. */
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < PID_LEVELS_MAX && i <= level; i++) {
		struct pid_namespace *namespace;
		struct upid upid;

		if (bpf_probe_read_kernel(&upid, sizeof(upid), &pid->numbers[i]))
			return 0;
		namespace = upid.ns;
		u32 inum = 0;
		bpf_probe_read_kernel(&inum, sizeof(inum), &namespace->ns.inum);
		if (inum == PID_NAMESPACE)
			return upid.nr;
	}
	return 0;
}

INLINE void remember_task(struct task_struct *leader, const struct process *process)
{
	struct task *known = bpf_map_lookup_elem(&tasks, process);
	struct task_struct *parent = leader;
	struct task task = {};

	bpf_probe_read_kernel(task.name, sizeof(task.name), &leader->comm);
	if (known) {
		/* It may have executed another program since. */
		__builtin_memcpy(known->name, task.name, sizeof(task.name));
		return;
	}
#pragma clang loop unroll(disable)
	for (int i = 0; i < ANCESTORS_MAX; i++) {
		parent = parent->real_parent->group_leader;
		task.ancestors[i].pid = pid_of(parent);
		if (!task.ancestors[i].pid)
			break;
		task.ancestors[i].start_ns = parent->start_boottime;
	}
	if (bpf_map_update_elem(&tasks, process, &task, BPF_ANY))
		count(LOST_TASKS);
}

/* Takes the current task for the owner of a socket. */
INLINE void take_current(struct opened *opened)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = task->group_leader;

	if (task->flags & PF_KTHREAD)
		return; /* the kernel's own: NFS, or what others left it to close */
	opened->process.pid = pid_of(leader);
	if (!opened->process.pid) {
		opened->foreign = 1;
		return;
	}
	opened->process.start_ns = leader->start_boottime;
	remember_task(leader, &opened->process);
}

INLINE void remember(struct sock *sk, const struct opened *opened)
{
	if (bpf_map_update_elem(&sockets, &sk, opened, BPF_ANY))
		count(LOST_SOCKETS);
}

INLINE void opening(struct sock *sk, u32 direction)
{
	struct opened opened = { .direction = direction };

	if (direction == OUTGOING)
		take_current(&opened);
	remember(sk, &opened);
}

/* A process shuts its end of a connection. */
INLINE void closing(struct sock *sk)
{
	struct opened *known = bpf_map_lookup_elem(&sockets, &sk);
	struct opened opened = {};

	if (!sk->sk_lock.owned)
		return;
	if (!known) {
		take_current(&opened);
		remember(sk, &opened);
	} else if (!known->process.pid && !known->foreign) {
		take_current(known);
	}
}

/* v4 as v4-mapped v6: ::ffff:a.b.c.d */
INLINE void address(u8 to[16], struct sock *sk, u32 v4, const struct in6_addr *v6)
{
	if (sk->__sk_common.skc_family == AF_INET6) {
		bpf_probe_read_kernel(to, 16, v6);
	} else {
		to[10] = to[11] = 0xff;
		*(u32 *)&to[12] = v4;
	}
}

/* The relation a connection belongs to: without the client's port. */
INLINE int relate(struct relation *relation, struct sock *sk, const struct opened *opened)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	if (!tcp)
		return 0;
	relation->process = opened->process;
	relation->direction = opened->direction;
	relation->netns = sk->__sk_common.skc_net.net->ns.inum;
	address(relation->local, sk, sk->__sk_common.skc_rcv_saddr, &sk->__sk_common.skc_v6_rcv_saddr);
	address(relation->remote, sk, sk->__sk_common.skc_daddr, &sk->__sk_common.skc_v6_daddr);
	if (opened->direction != OUTGOING)
		relation->local_port = tcp->inet_conn.icsk_inet.inet_sport;
	if (opened->direction != INCOMING)
		relation->remote_port = sk->__sk_common.skc_dport;
	return 1;
}

/* FNV-1a over words, and a last mix, as its low bits are weak. */
INLINE u64 hash(const struct relation *relation)
{
	const u64 *words = (const u64 *)relation;
	u64 hash = 0xcbf29ce484222325ULL;

	for (u32 i = 0; i < sizeof(*relation) / 8; i++)
		hash = (hash ^ words[i]) * 0x100000001b3ULL;
	return hash ^ hash >> 29;
}

/* Wakes user space: there is something new in this network namespace. */
INLINE void tell_of(u32 netns)
{
	if (bpf_ringbuf_output(&news, &netns, sizeof(netns), 0))
		count(LOST_NEWS);
}

/* Tells if this connection is the first of its relation in a while. */
INLINE void established(struct sock *sk)
{
	struct opened *opened = bpf_map_lookup_elem(&sockets, &sk);
	struct relation relation = {};
	u32 zero = 0;
	u32 *drain = bpf_map_lookup_elem(&drains, &zero);

	if (!opened || opened->foreign || !drain || !relate(&relation, sk, opened))
		return;
	u64 key = hash(&relation);
	u32 index = key % SLOTS_MAX;
	u64 *slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return;
	u64 last = *slot;
	u64 tag = key >> 32 << 32;
	*slot = tag | *drain;
	if (last && (last ^ tag) >> 32 == 0 && *drain - (u32)last < NEWS_AGAIN)
		return;
	tell_of(relation.netns);
}

/* A process begins to listen, or stops. */
INLINE void listening(struct sock *sk)
{
	struct opened opened = {};

	take_current(&opened);
	if (!opened.foreign)
		tell_of(sk->__sk_common.skc_net.net->ns.inum);
}

INLINE void add(struct relation *relation, struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);
	u32 zero = 0;
	void *map = bpf_map_lookup_elem(&ended, &zero);
	struct figures none = {};
	struct figures *sum;

	if (!tcp || !map)
		return;
	sum = bpf_map_lookup_elem(map, relation);
	if (!sum) {
		bpf_map_update_elem(map, relation, &none, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(map, relation);
	}
	if (!sum) {
		count(LOST_ENDED);
		return;
	}
	__sync_fetch_and_add(&sum->count, 1);
	__sync_fetch_and_add(&sum->sent, tcp->bytes_acked);
	__sync_fetch_and_add(&sum->received, tcp->bytes_received);
	__sync_fetch_and_add(&sum->retransmits, tcp->total_retrans);
	if (tcp->srtt_us)
		sum->rtt_us = tcp->srtt_us >> 3; /* the kernel keeps eight times it */
}

INLINE void ended_in(struct sock *sk, int state)
{
	struct opened *known = bpf_map_lookup_elem(&sockets, &sk);
	struct opened opened = {};
	struct relation relation = {};

	if (known) {
		opened = *known;
		bpf_map_delete_elem(&sockets, &sk);
	}
	if (!(1 << state & CONNECTED))
		return; /* it never was established */
	/* A process that throws a connection away does so without an error. A reset or a timeout sets one first, and is not
	 * the doing of the task it is noticed in. */
	if (!opened.process.pid && !opened.foreign && sk->sk_lock.owned && !sk->sk_err)
		take_current(&opened);
	if (!opened.foreign && relate(&relation, sk, &opened))
		add(&relation, sk);
}

SECTION("tp_btf/inet_sock_set_state")
int inet_sock_set_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	int from = ctx[1];
	int to = ctx[2];

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	count(EVENTS);
	if (to == TCP_SYN_SENT)
		opening(sk, OUTGOING);
	else if (from == TCP_LISTEN && to == TCP_SYN_RECV)
		opening(sk, INCOMING);
	else if (to == TCP_ESTABLISHED)
		established(sk);
	else if (to == TCP_FIN_WAIT1 || to == TCP_LAST_ACK)
		closing(sk);
	else if (to == TCP_LISTEN || from == TCP_LISTEN)
		listening(sk);
	else if (to == TCP_CLOSE)
		ended_in(sk, from);
	return 0;
}

/* What `holders` writes. */
struct holder {
	u64 inode;
	struct process process;
};

/* Who has which socket open: all descriptors of all processes of the reader's pid namespace. */
SECTION("iter/task_file")
int holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct holder holder = {};

	if (!task || !file || !bpf_sock_from_file(file))
		return 0;
	holder.inode = file->f_inode->i_ino;
	holder.process.pid = pid_of(task->group_leader);
	holder.process.start_ns = task->group_leader->start_boottime;
	bpf_seq_write(ctx->meta->seq, &holder, sizeof(holder));
	return 0;
}
