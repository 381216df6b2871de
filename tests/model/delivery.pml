/* delivery.pml - the delivery protocol between a device and the disk, with everything that may go wrong
 *
 * One device with M messages, each a batch of its own; one connectivity worker (lives 1, 2, ...), one limiter, one shard of
 * storage (one process at a time holds it), and a world that kills, loses, repeats, delays and cuts power, each so often as
 * its budget says. README.md tells what is left out and how to read a counterexample. Names follow common/stream.h. */

#ifndef M
#define M 2		/* messages of the device */
#endif
#ifndef W
#define W 2		/* window: batches that may be outstanding */
#endif
#ifndef QUEUE
#define QUEUE 3		/* messages in a pipe; more are lost, as at a high-water mark */
#endif
#ifndef NET
#define NET 0		/* messages lost, repeated, or overtaken */
#endif
#ifndef TIMERS
#define TIMERS 0	/* time-outs that come too early, and links that flap */
#endif
#ifndef STRAYS
#define STRAYS 0	/* FENCED said by a process that does not own the shard */
#endif
#ifndef CKILLS
#define CKILLS 0	/* kill -9 of connectivity */
#endif
#ifndef LKILLS
#define LKILLS 0	/* kill -9 of the limiter: everything in it is lost */
#endif
#ifndef SKILLS
#define SKILLS 0	/* kill -9 of storage */
#endif
#ifndef MOVES
#define MOVES 0		/* the shard is handed to another storage process */
#endif
#ifndef EIOS
#define EIOS 0		/* fdatasync fails */
#endif
#ifndef CUTS
#define CUTS 0		/* power cuts: page cache and all processes are gone */
#endif
#ifndef CLOSES
#define CLOSES 0	/* credit closes (quota), and opens again */
#endif
#ifndef REFUSE
#define REFUSE 1	/* the limiter may refuse */
#endif

#define LOG_MAX 10
#define LIVES (1 + CKILLS + CUTS)

mtype = { HELLO, WELCOME, FENCED, BATCH, COMMIT, GAP, REFUSED };

/* A batch carries its composer's life and its message only so that the checks can tell batches apart. */
chan to_limiter = [QUEUE] of { byte /* life */, byte /* id */, byte /* seq */, byte /* acked */, byte /* message */ };
chan to_storage = [QUEUE] of { mtype, byte /* life */, byte /* id */, byte /* seq */, byte /* acked */, byte /* message */, bit /* refused */ };
chan to_sender = [QUEUE] of { mtype, byte /* life */, byte /* id */, byte /* upto, next */, byte /* refusals, a bit a seq */, byte /* window */ };

#define SAY_LIMITER(f1, f2, f3, f4, f5) if :: len(to_limiter) < QUEUE -> to_limiter!f1,f2,f3,f4,f5 :: else fi
#define SAY_STORAGE(f1, f2, f3, f4, f5, f6, f7) if :: len(to_storage) < QUEUE -> to_storage!f1,f2,f3,f4,f5,f6,f7 :: else fi
#define SAY_SENDER(f1, f2, f3, f4, f5, f6) if :: len(to_sender) < QUEUE -> to_sender!f1,f2,f3,f4,f5,f6 :: else fi

/* --- device --- */
byte answered;			/* messages 0 .. answered-1 have their answer */
bit told_refused[M];

/* --- connectivity: memory of the present life --- */
bit c_up;
byte life;
byte base;			/* message of sequence number 1 */
byte tx_id, tx_last, tx_committed, tx_pushed, tx_sent, tx_max, tx_window;
bit asking;			/* no WELCOME yet */
bit hello_out;
byte first[LIVES + 1];		/* ghost: first message of each life */

/* --- storage: memory of the process that holds the shard --- */
bit s_up;
byte phase;			/* 0 takes messages, 1 block written and sync running, 2 synced and nobody told */
byte rx_life, rx_id, rx_committed, rx_appended, rx_acked, rx_refusals, rx_next_id;
bit welcome_due;
bit credit = 1;

/* --- the journal: entries below `durable` are on the platter, below `written` in the file, below `built` in memory --- */
typedef Entry { byte life; byte id; byte seq; byte message; bit refused };	/* seq 0: the id was issued */
Entry journal[LOG_MAX];
byte durable, written, built;
bit lost;			/* a sync failed: what is between durable and written is in page cache only, marked clean */
#if defined(POSITION_AFTER_BLOCK) || defined(POSITION_BEFORE_BLOCK)
byte position;			/* durable, by itself */
#endif
#if defined(OLD_OWNER_COMMITS) || defined(OLD_OWNER_WRITES)
bit old_owner;			/* still runs although the shard was taken from it */
byte old_id, old_appended, old_life;
#endif
#ifdef OLD_LIFE_NOT_FENCED
byte past_id, past_appended, past_life;
#endif

byte net = NET, timers = TIMERS, strays = STRAYS, ckills = CKILLS, lkills = LKILLS, skills = SKILLS, moves = MOVES, eios = EIOS, cuts = CUTS, closes = CLOSES;

/* The message that an atomic step is about; forgotten at its end, so that it makes no states. */
mtype m_kind;
byte m_life, m_id, m_seq, m_acked, m_message, m_upto, m_refusals, m_window;
bit m_refused;
#define DONE d_step { m_kind = 0; m_life = 0; m_id = 0; m_seq = 0; m_acked = 0; m_message = 0; m_upto = 0; m_refusals = 0; m_window = 0; m_refused = 0 }

/* Scratch of d_steps. */
hidden byte i, n, was_refused, on_disk_as_told, once_and_in_order, of_its_own_life, newest_life_last, told_is_still_there, acked_is_durable;

#define BIT(s) (1 << ((s) - 1))
#define QUIET (c_up && s_up && phase == 0 && built == written && !welcome_due && len(to_limiter) == 0 && len(to_storage) == 0 && len(to_sender) == 0)

/* The device gets an answer; `is_refused` as the sender tells it. */
inline answer(a_message, is_refused)
{
	on_disk_as_told = 0;
	i = 0;
	do
	:: i < durable ->
		if
		:: journal[i].seq > 0 && journal[i].life == life && journal[i].message == a_message && journal[i].refused == is_refused -> on_disk_as_told = 1
		:: else
		fi;
		i++
	:: else -> break
	od;
	assert(on_disk_as_told);
	told_refused[a_message] = is_refused;
	answered++
}

/* Everything up to `u` is committed, says storage. */
inline take_commit(u, refusals)
{
	do
	:: tx_committed < u ->
		was_refused = (refusals & BIT(tx_committed + 1)) != 0;
		answer((base + tx_committed), was_refused);
		tx_committed++
	:: else -> break
	od;
	if :: tx_sent < tx_committed -> tx_sent = tx_committed :: else fi
}

inline renumber()
{
	base = base + tx_committed;
	tx_pushed = tx_pushed - tx_committed;
	tx_committed = 0;
	tx_sent = 0;
	tx_max = 0
}

inline ask()
{
	asking = 1;
	hello_out = 0
}

inline time_out()
{
	if
	:: asking -> hello_out = 0
	:: !asking && tx_window == 0 ->
#ifndef NO_CREDIT_NOT_ASKED
		ask()
#else
		skip
#endif
	:: !asking && tx_window > 0 -> tx_sent = tx_committed
	:: !asking && tx_window > 0 -> ask()
	fi
}

#define KNOWN_ID (tx_id -> tx_id : tx_last)
#define WAITS ((asking && hello_out) || (!asking && tx_sent > tx_committed) || (!asking && tx_window == 0 && credit && tx_pushed > tx_committed))

proctype connectivity()
{
end:	do
	/* a new life: the device offers again what was not answered */
	:: atomic { !c_up ->
		c_up = 1;
		life++;
		base = answered;
		first[life] = base;
		tx_pushed = M - answered;
		asking = 1
	}
	:: atomic { c_up && asking && !hello_out ->
		hello_out = 1;
		SAY_STORAGE(HELLO, life, tx_id, 0, (tx_id -> tx_committed : 0), 0, 0)
	}
	:: atomic { c_up && !asking && tx_sent < tx_pushed && tx_sent < tx_committed + tx_window ->
		tx_sent++;
		if :: tx_max < tx_sent -> tx_max = tx_sent :: else fi;
		SAY_LIMITER(life, tx_id, tx_sent, tx_committed, base + tx_sent - 1)
	}
#ifndef NO_TIME_OUT
	/* Only when nothing moves any more; time-outs that are too early are the world's. */
	:: atomic { QUIET && WAITS -> time_out() }
#endif
	:: atomic { c_up && nempty(to_sender) ->
		to_sender?m_kind,m_life,m_id,m_upto,m_refusals,m_window;
		if
		:: m_kind == COMMIT ->
			if
#ifdef COMMIT_OF_ANOTHER_LIFE
			:: tx_id && m_upto <= tx_max && m_upto >= tx_committed ->
#else
			:: tx_id && m_id == tx_id && m_upto <= tx_max && m_upto >= tx_committed ->
#endif
				d_step { take_commit(m_upto, m_refusals); tx_window = m_window }
			:: else
			fi
		:: m_kind == WELCOME ->
			if
			:: m_life != life -> skip
			:: m_life == life && m_id == KNOWN_ID && m_upto >= tx_committed && m_upto <= tx_max ->
				d_step {
					take_commit(m_upto, m_refusals);
					tx_id = m_id;
					tx_last = m_id;
					tx_window = m_window;
					if :: asking -> asking = 0; hello_out = 0; tx_sent = tx_committed :: else fi
				}
			:: m_life == life && m_id > KNOWN_ID && tx_id == 0 && m_upto == 0 ->
				d_step {
					renumber();
					tx_id = m_id;
					tx_last = m_id;
					tx_window = m_window;
					asking = 0;
					hello_out = 0
				}
			:: else
			fi
		:: m_kind == FENCED ->
			if
			:: tx_id && m_id == tx_id ->
				tx_id = 0;
#ifdef FENCED_RENUMBERS
				tx_last = 0;
				renumber();
#endif
				ask()
			:: else
			fi
		:: m_kind == GAP ->
			if
			:: tx_id && m_id == tx_id && !asking && m_upto > tx_committed && m_upto <= tx_sent -> tx_sent = m_upto - 1
			:: else
			fi
		:: m_kind == REFUSED ->
			if
			:: tx_id && m_id == tx_id && m_upto == tx_committed + 1 -> d_step { take_commit(m_upto, BIT(m_upto)) }
			:: else
			fi
		fi;
		DONE
	}
	od
}

proctype limiter()
{
end:	do
	:: atomic { nempty(to_limiter) ->
		to_limiter?m_life,m_id,m_seq,m_acked,m_message;
		if
		:: m_refused = 0
		:: REFUSE -> m_refused = 1
		fi;
#if defined(LIMITER_DROPS_REFUSED)
		if :: !m_refused -> SAY_STORAGE(BATCH, m_life, m_id, m_seq, m_acked, m_message, 0) :: else fi
#elif defined(LIMITER_CUTS_REFUSED_OUT)
		/* the batch goes on, empty, and nothing in it says why */
		SAY_STORAGE(BATCH, m_life, m_id, m_seq, m_acked, (m_refused -> 255 : m_message), 0)
#elif defined(LIMITER_ANSWERS_ITSELF)
		if :: m_refused -> SAY_SENDER(REFUSED, 0, m_id, m_seq, 0, 0) :: else fi;
		SAY_STORAGE(BATCH, m_life, m_id, m_seq, m_acked, m_message, m_refused)
#else
		SAY_STORAGE(BATCH, m_life, m_id, m_seq, m_acked, m_message, m_refused)
#endif
		;
		DONE
	}
	od
}

/* --- storage --- */

inline check_append(a_life)
{
	once_and_in_order = 1;
	newest_life_last = 1;
	n = first[a_life];
	i = 0;
	do
	:: i < built ->
		if
		:: journal[i].life > a_life -> newest_life_last = 0
		:: journal[i].life == a_life && journal[i].seq > 0 ->
			if :: journal[i].message != 255 -> n = journal[i].message + 1 :: else fi
		:: else
		fi;
		i++
	:: else -> break
	od;
	/* each message of a life comes once, right after the one before it */
	if :: m_message != 255 && m_message != n -> once_and_in_order = 0 :: else fi;
	of_its_own_life = (m_life == a_life);
	assert(newest_life_last);
	assert(of_its_own_life);
	assert(once_and_in_order)
}

inline put(a_life, a_id, a_seq, a_message, a_refused)
{
	journal[built].life = a_life;
	journal[built].id = a_id;
	journal[built].seq = a_seq;
	journal[built].message = a_message;
	journal[built].refused = a_refused;
	built++
}

inline forget_acked()
{
	/* What the sender has seen is durable; anything else means that the protocol is broken. */
	d_step { acked_is_durable = m_acked <= rx_committed; assert(acked_is_durable) };
	if :: m_acked > rx_acked -> rx_acked = m_acked :: else fi
}

#define REFUSALS ((rx_refusals & ((1 << rx_committed) - 1)) & ~((1 << rx_acked) - 1))
#define WINDOW (credit -> W : 0)

#if defined(VERDICTS_ONCE)
#define COMMIT_IT SAY_SENDER(COMMIT, 0, rx_id, rx_committed, REFUSALS, WINDOW); rx_refusals = 0
#else
#define COMMIT_IT SAY_SENDER(COMMIT, 0, rx_id, rx_committed, REFUSALS, WINDOW)
#endif

inline issue()
{
	/* a newer life of a worker ends its older streams */
#ifdef OLD_LIFE_NOT_FENCED
	past_id = rx_id;
	past_appended = rx_appended;
	past_life = rx_life;
#endif
	rx_life = m_life;
	rx_id = rx_next_id;
	rx_next_id++;
	rx_committed = 0;
	rx_appended = 0;
	rx_acked = 0;
	rx_refusals = 0;
#if defined(POSITION_AFTER_BLOCK) || defined(POSITION_BEFORE_BLOCK)
	position = 0;
#endif
	put(m_life, rx_id, 0, 0, 0)
}

inline on_hello()
{
	if
	:: m_life > rx_life && built < LOG_MAX -> issue(); welcome_due = 1
#ifdef HELLO_ISSUES_ANEW
	:: m_life == rx_life && m_id == 0 && built < LOG_MAX -> issue(); welcome_due = 1
	:: m_life == rx_life && m_id == rx_id -> forget_acked(); welcome_due = 1
#else
	:: m_life == rx_life && (m_id == 0 || m_id == rx_id) -> forget_acked(); welcome_due = 1
#endif
	:: m_life == rx_life && m_id != 0 && m_id != rx_id -> SAY_SENDER(FENCED, 0, m_id, 0, 0, 0)
	:: else
	fi
}

inline on_batch()
{
	if
#ifdef OLD_LIFE_NOT_FENCED
	:: m_id == past_id && past_id && m_seq == past_appended + 1 && built < LOG_MAX ->
		d_step { check_append(past_life); put(past_life, m_id, m_seq, m_message, m_refused); past_appended++ }
#endif
	:: rx_id == 0 || m_id != rx_id -> SAY_SENDER(FENCED, 0, m_id, 0, 0, 0)
	:: rx_id && m_id == rx_id ->
		forget_acked();
		if
		:: !credit -> COMMIT_IT
#if defined(REPEAT_APPENDED)
		:: credit && m_seq <= rx_appended && built < LOG_MAX -> d_step { check_append(rx_life); put(rx_life, m_id, m_seq, m_message, m_refused) }
#elif defined(REPEAT_NOT_ANSWERED)
		:: credit && m_seq <= rx_appended -> skip
#else
		:: credit && m_seq <= rx_appended -> COMMIT_IT
#endif
		:: credit && m_seq == rx_appended + 1 && built < LOG_MAX ->
			d_step { check_append(rx_life); put(rx_life, m_id, m_seq, m_message, m_refused) };
			rx_appended = m_seq;
#ifdef POSITION_BEFORE_BLOCK
			position = rx_appended;
#endif
			if :: m_refused -> rx_refusals = rx_refusals | BIT(m_seq) :: else fi
#ifdef GAP_APPENDED
		:: credit && m_seq > rx_appended + 1 && built < LOG_MAX ->
			/* cumulative: the COMMIT will cover what never came */
			put(rx_life, m_id, m_seq, m_message, m_refused);
			rx_appended = m_seq
#else
		:: credit && m_seq > rx_appended + 1 -> SAY_SENDER(GAP, 0, rx_id, rx_appended + 1, 0, 0)
#endif
		fi
	fi
}

inline wipe(from)
{
	i = from;
	do
	:: i < LOG_MAX ->
		journal[i].life = 0;
		journal[i].id = 0;
		journal[i].seq = 0;
		journal[i].message = 0;
		journal[i].refused = 0;
		i++
	:: else -> break
	od;
	i = 0
}

inline storage_dies()
{
	s_up = 0;
	phase = 0;
	welcome_due = 0;
	rx_life = 0;
	rx_id = 0;
	rx_committed = 0;
	rx_appended = 0;
	rx_acked = 0;
	rx_refusals = 0;
	rx_next_id = 0;
#ifdef OLD_LIFE_NOT_FENCED
	past_id = 0;
	past_appended = 0;
	past_life = 0;
#endif
	built = written;
	wipe(built)
}

inline recover()
{
	/* What the file shows may be page cache. Make it durable before anyone hears of it; after a failed sync that takes
	 * a copy, because the pages are marked clean. */
#if defined(RECOVERY_DOES_NOT_SYNC)
	skip;
#elif defined(RECOVERY_TRUSTS_CACHE)
	if :: !lost -> durable = written :: else fi;
#else
	durable = written;
	lost = 0;
#endif
	rx_next_id = 1;
	i = 0;
	do
	:: i < written ->
		if
		:: journal[i].seq == 0 ->
			rx_life = journal[i].life;
			rx_id = journal[i].id;
			rx_committed = 0;
			rx_refusals = 0;
#ifndef ID_REUSED
			rx_next_id = rx_id + 1
#endif
		:: journal[i].seq > 0 && journal[i].id == rx_id ->
			rx_committed = journal[i].seq;
#ifndef REFUSALS_NOT_REBUILT
			if :: journal[i].refused -> rx_refusals = rx_refusals | BIT(journal[i].seq) :: else fi
#endif
		:: else
		fi;
		i++
	:: else -> break
	od;
#if defined(POSITION_AFTER_BLOCK) || defined(POSITION_BEFORE_BLOCK)
	rx_committed = position;
#endif
	rx_appended = rx_committed;
	s_up = 1
}

/* Everything the device was told is on disk as it was told. */
inline check_told()
{
	n = 0;
	do
	:: n < answered ->
		told_is_still_there = 0;
		i = 0;
		do
		:: i < written ->
			if
			:: journal[i].seq > 0 && journal[i].message == n && journal[i].refused == told_refused[n] -> told_is_still_there = 1
			:: else
			fi;
			i++
		:: else -> break
		od;
		assert(told_is_still_there);
		n++
	:: else -> break
	od;
	n = 0
}

proctype storage()
{
end:	do
	:: atomic { !s_up -> d_step { recover(); check_told() } }
	:: atomic { s_up && phase == 0 && nempty(to_storage) ->
		to_storage?m_kind,m_life,m_id,m_seq,m_acked,m_message,m_refused;
		if
		:: m_kind == HELLO -> on_hello()
		:: m_kind == BATCH -> on_batch()
		fi;
		DONE
	}
#ifdef WELCOME_BEFORE_SYNC
	:: atomic { s_up && phase == 0 && welcome_due ->
#else
	:: atomic { s_up && phase == 0 && welcome_due && built == written ->
#endif
		welcome_due = 0;
		SAY_SENDER(WELCOME, rx_life, rx_id, rx_committed, REFUSALS, WINDOW)
	}
	/* one block of all that came; nothing is taken while the sync runs */
	:: atomic { s_up && phase == 0 && built > written ->
		written = built;
#ifdef ACK_BEFORE_SYNC
		rx_committed = rx_appended;
		COMMIT_IT;
#endif
		phase = 1
	}
	:: atomic { s_up && phase == 1 ->
#ifdef SYNC_RETRIED
		/* the second sync after a failure returns 0 and has written nothing */
		if :: !lost -> durable = written :: else -> lost = 0 fi;
#else
		durable = written;
#endif
		rx_committed = rx_appended;
		phase = 2
	}
	:: atomic { s_up && phase == 2 ->
		phase = 0;
#ifdef POSITION_AFTER_BLOCK
		position = rx_committed;
#endif
		if :: rx_committed > 0 -> COMMIT_IT :: else fi
	}
#if defined(OLD_OWNER_COMMITS) || defined(OLD_OWNER_WRITES)
	:: atomic { old_owner && nempty(to_storage) && to_storage?[BATCH,_,eval(old_id),eval(old_appended + 1),_,_,_] ->
		to_storage??BATCH,m_life,eval(old_id),eval(old_appended + 1),m_acked,m_message,m_refused;
		old_appended++;
#ifdef OLD_OWNER_WRITES
		if
		:: phase == 0 && built == written && built < LOG_MAX ->
			d_step { check_append(old_life); put(old_life, old_id, old_appended, m_message, m_refused); written = built; durable = built }
		:: else
		fi;
#endif
		SAY_SENDER(COMMIT, 0, old_id, old_appended, (m_refused -> BIT(old_appended) : 0), W);
		DONE
	}
#endif
	od
}

/* --- the world --- */

inline connectivity_dies()
{
	c_up = 0;
	base = 0;
	tx_id = 0;
	tx_last = 0;
	tx_committed = 0;
	tx_pushed = 0;
	tx_sent = 0;
	tx_max = 0;
	tx_window = 0;
	asking = 0;
	hello_out = 0
}

inline drain_pipes()
{
	do :: len(to_limiter) > 0 -> to_limiter?_,_,_,_,_ :: else -> break od;
	do :: len(to_storage) > 0 -> to_storage?_,_,_,_,_,_,_ :: else -> break od;
	do :: len(to_sender) > 0 -> to_sender?_,_,_,_,_,_ :: else -> break od;
	i = 0
}

proctype world()
{
end:	do
	:: atomic { net > 0 && nempty(to_limiter) ->
		net--;
		if
		:: to_limiter?_,_,_,_,_
		:: len(to_limiter) < QUEUE -> to_limiter?<m_life,m_id,m_seq,m_acked,m_message>; to_limiter!m_life,m_id,m_seq,m_acked,m_message
		:: len(to_limiter) > 1 -> to_limiter?m_life,m_id,m_seq,m_acked,m_message; to_limiter!m_life,m_id,m_seq,m_acked,m_message
		fi;
		DONE
	}
	:: atomic { net > 0 && nempty(to_storage) ->
		net--;
		if
		:: to_storage?_,_,_,_,_,_,_
		:: len(to_storage) < QUEUE -> to_storage?<m_kind,m_life,m_id,m_seq,m_acked,m_message,m_refused>; to_storage!m_kind,m_life,m_id,m_seq,m_acked,m_message,m_refused
		:: len(to_storage) > 1 -> to_storage?m_kind,m_life,m_id,m_seq,m_acked,m_message,m_refused; to_storage!m_kind,m_life,m_id,m_seq,m_acked,m_message,m_refused
		fi;
		DONE
	}
	:: atomic { net > 0 && nempty(to_sender) ->
		net--;
		if
		:: to_sender?_,_,_,_,_,_
		:: len(to_sender) < QUEUE -> to_sender?<m_kind,m_life,m_id,m_upto,m_refusals,m_window>; to_sender!m_kind,m_life,m_id,m_upto,m_refusals,m_window
		:: len(to_sender) > 1 -> to_sender?m_kind,m_life,m_id,m_upto,m_refusals,m_window; to_sender!m_kind,m_life,m_id,m_upto,m_refusals,m_window
		fi;
		DONE
	}
	:: atomic { timers > 0 && c_up && WAITS && !QUIET -> timers--; time_out() }
	:: atomic { timers > 0 && c_up && !asking -> timers--; ask() }
	:: atomic { strays > 0 && c_up && tx_id > 0 -> strays--; SAY_SENDER(FENCED, 0, tx_id, 0, 0, 0) }
	:: atomic { ckills > 0 && c_up -> ckills--; connectivity_dies() }
	:: atomic { lkills > 0 && nempty(to_limiter) ->
		lkills--;
		do :: len(to_limiter) > 0 -> to_limiter?_,_,_,_,_ :: else -> break od
	}
	:: atomic { skills > 0 && s_up -> skills--; d_step { storage_dies() } }
	:: atomic { moves > 0 && s_up && phase == 0 && built == written ->
		moves--;
#if defined(OLD_OWNER_COMMITS) || defined(OLD_OWNER_WRITES)
		old_owner = 1;
		old_id = rx_id;
		old_appended = rx_appended;
		old_life = rx_life;
#endif
		d_step { storage_dies() }
	}
	:: atomic { eios > 0 && s_up && phase == 1 ->
		eios--;
		lost = 1;
#ifndef SYNC_RETRIED
		d_step { storage_dies() }
#endif
	}
	:: atomic { cuts > 0 ->
		cuts--;
		/* a block on its way to the platter is whole there or it is not there */
		if
		:: phase == 1 && !lost -> durable = written
		:: written = durable
		fi;
		lost = 0;
		d_step { storage_dies(); connectivity_dies(); drain_pipes() }
	}
	:: atomic { closes > 0 && credit && s_up -> closes--; credit = 0 }
	:: atomic { !credit && s_up && phase == 0 ->
		credit = 1;
		if :: rx_committed == rx_appended && rx_id && built == written -> COMMIT_IT :: else fi
	}
	od
}

/* If nothing can move any more and this one waits, somebody was forgotten. */
proctype all_answered()
{
	answered == M
}

init {
	atomic {
		run connectivity();
		run limiter();
		run storage();
		run world();
		run all_answered()
	}
}
