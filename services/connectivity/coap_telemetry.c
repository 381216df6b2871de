/* coap_telemetry.c - a CoAP request's readings into ingest */
#include "coap_server_impl.h"
#include "device_id.h"
#include "err.h"

int
coap_server_telemetry(
    void *arg, const struct coap_telemetry *t, uint32_t *ret_parts, struct buf *why)
{
	struct coap_server *s = arg;
	struct bytes device = auth_device(t->grant, t->own);
	struct ingest_message m = {
		.device = device,
		.topic = t->path,
		.payload = t->payload,
		.format = t->format == COAP_FORMAT_JSON ? PAYLOAD_JSON : PAYLOAD_ANY,
		.client = t->client,
		.packet_id = t->id,
		.qos = 1,
		.dup = t->dup,
		.undecodable = INGEST_REFUSE,
	};
	const char *fault = device_id_fault(device);

	if (fault) {
		buf_add_str(why, device.len ? fault : "it is not said which device: ?device=ID");
		return COAP_BAD_REQUEST;
	}
	*ret_parts = 1;
	switch (ingest_offer(
	    s->ingest, &m, (uint64_t)INGEST_OF_COAP << INGEST_OWNER_SHIFT | t->ticket, why)) {
	case 0:
		return 0;
	case ERR_AGAIN:
		buf_add_str(why, "the journal takes no more now");
		return COAP_UNAVAILABLE;
	case ERR_TOO_BIG:
		return COAP_TOO_LARGE;
	default:
		return COAP_BAD_REQUEST;
	}
}
