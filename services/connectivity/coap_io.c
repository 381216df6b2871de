/* coap_io.c - datagrams of the CoAP sockets, many a system call */
#include "coap_server_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mem.h"
#include "metrics.h"
#include "tls_datagrams.h"

#define CONTROL_MAX 64

struct out {
	struct sockaddr_storage to;
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_MAX];
	struct iovec iov;
	uint8_t data[TLS_DATAGRAM_MAX];
};

struct in {
	struct sockaddr_storage from;
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_MAX];
	struct iovec iov;
	uint8_t data[COAP_DATAGRAM_MAX];
};

struct coap_io {
	struct mmsghdr in_headers[COAP_READ_BATCH];
	struct in in[COAP_READ_BATCH];
	struct mmsghdr out_headers[COAP_SEND_BATCH];
	struct out out[COAP_SEND_BATCH];
	unsigned out_count;
	unsigned out_socket; /* whose these are */
};

struct coap_io *
coap_io_new(void)
{
	return xcalloc(1, sizeof(struct coap_io));
}

void
coap_io_free(struct coap_io **io)
{
	free(*io);
	*io = NULL;
}

/* --- addresses --- */

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

static void
endpoint_from(struct coap_endpoint *e, const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		memcpy(e->ip, mapped, sizeof(mapped));
		memcpy(e->ip + 12, &in->sin_addr, 4);
		e->port = ntohs(in->sin_port);
	} else {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		memcpy(e->ip, &in6->sin6_addr, 16);
		e->port = ntohs(in6->sin6_port);
		e->scope = in6->sin6_scope_id;
	}
}

static void
endpoint_local(struct coap_endpoint *e, struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(e->local, mapped, sizeof(mapped));
			memcpy(e->local + 12, &info.ipi_spec_dst, 4);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(e->local, &info.ipi6_addr, 16);
		}
	}
}

static socklen_t
sockaddr_of(const struct coap_endpoint *e, sa_family_t family, struct sockaddr_storage *ret)
{
	if (family == AF_INET) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(e->port) };

		memcpy(&in.sin_addr, e->ip + 12, 4);
		memcpy(ret, &in, sizeof(in));
		return sizeof(in);
	} else {
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
			.sin6_port = htons(e->port),
			.sin6_scope_id = e->scope };

		memcpy(&in6.sin6_addr, e->ip, 16);
		memcpy(ret, &in6, sizeof(in6));
		return sizeof(in6);
	}
}

/* The answer comes from the address that was asked. */
static void
control_of(const struct coap_endpoint *e, sa_family_t family, struct msghdr *h)
{
	struct cmsghdr *c;

	h->msg_controllen = family == AF_INET ? CMSG_SPACE(sizeof(struct in_pktinfo))
					      : CMSG_SPACE(sizeof(struct in6_pktinfo));
	memset(h->msg_control, 0, h->msg_controllen);
	c = CMSG_FIRSTHDR(h);
	if (family == AF_INET) {
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, e->local + 12, 4);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	} else {
		struct in6_pktinfo info = { .ipi6_ifindex = e->scope };

		memcpy(&info.ipi6_addr, e->local, 16);
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	}
}

/* --- in --- */

unsigned
coap_io_read(struct coap_server *s, struct coap_socket *socket)
{
	struct coap_io *io = s->io;
	int n;

	for (unsigned i = 0; i < COAP_READ_BATCH; i++) {
		struct in *in = &io->in[i];

		in->iov = (struct iovec){ in->data, sizeof(in->data) };
		io->in_headers[i].msg_hdr = (struct msghdr){
			.msg_name = &in->from,
			.msg_namelen = sizeof(in->from),
			.msg_iov = &in->iov,
			.msg_iovlen = 1,
			.msg_control = socket->wildcard ? in->control : NULL,
			.msg_controllen = socket->wildcard ? sizeof(in->control) : 0,
		};
	}
	n = recvmmsg(socket->fd, io->in_headers, COAP_READ_BATCH, MSG_DONTWAIT, NULL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		log_warn("coap.read", LI("errno", errno));
	for (int i = 0; i < n; i++) {
		struct msghdr *h = &io->in_headers[i].msg_hdr;
		struct coap_endpoint from;

		memset(&from, 0, sizeof(from));
		from.socket = (uint16_t)(socket - s->sockets);
		endpoint_from(&from, &io->in[i].from);
		if (socket->wildcard)
			endpoint_local(&from, h);
		if (socket->secure)
			coap_dtls_input(
			    s->dtls, &from, bytes_of(io->in[i].data, io->in_headers[i].msg_len));
		else
			coap_receive(&s->coap, &from,
			    bytes_of(io->in[i].data, io->in_headers[i].msg_len),
			    (h->msg_flags & MSG_TRUNC) != 0);
	}
	return n > 0 ? (unsigned)n : 0;
}

/* --- out --- */

void
coap_io_send(struct coap_server *s, const struct coap_endpoint *to, struct bytes message)
{
	struct coap_io *io = s->io;
	const struct coap_socket *socket = &s->sockets[to->socket];
	struct out *out;
	struct msghdr *h;

	if (message.len > sizeof(out->data)) {
		metric_add(M_COAP_UNSENT, 1);
		return;
	}
	if (io->out_count == COAP_SEND_BATCH || (io->out_count && io->out_socket != to->socket))
		coap_io_flush(s);
	io->out_socket = to->socket;
	out = &io->out[io->out_count];
	h = &io->out_headers[io->out_count++].msg_hdr;
	memcpy(out->data, message.data, message.len);
	out->iov = (struct iovec){ out->data, message.len };
	*h = (struct msghdr){
		.msg_name = &out->to,
		.msg_namelen = sockaddr_of(to, socket->family, &out->to),
		.msg_iov = &out->iov,
		.msg_iovlen = 1,
		.msg_control = socket->wildcard ? out->control : NULL,
	};
	if (socket->wildcard)
		control_of(to, socket->family, h);
}

/* What the kernel does not take is lost, as it might be on its way; the device asks again. */
void
coap_io_flush(struct coap_server *s)
{
	struct coap_io *io = s->io;
	unsigned at = 0;

	while (at < io->out_count) {
		int n = sendmmsg(s->sockets[io->out_socket].fd, io->out_headers + at,
		    io->out_count - at, MSG_DONTWAIT);

		if (n > 0) {
			at += (unsigned)n;
		} else if (errno != EINTR) {
			metric_add(M_COAP_UNSENT, 1);
			at++;
		}
	}
	io->out_count = 0;
}
