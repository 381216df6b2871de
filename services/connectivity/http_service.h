/* http_service.h - the HTTP server among the other parts of the worker: listener, authentication, ingest
 *
 * Every function takes NULL, which is what there is without http.listen. */
#ifndef ROOST_HTTP_SERVICE_H
#define ROOST_HTTP_SERVICE_H

#include "access.h"
#include "auth.h"
#include "ingest.h"
#include "transport.h"
#include "worker.h"

struct http_service;

struct http_service *http_service_new(struct worker *w, const struct transport_doors *doors, struct auth *auth, const struct access *access,
    struct ingest *ingest);
void http_service_free(struct http_service **h);
/* What ingest answers to a token of INGEST_OF_HTTP. */
void http_service_answer(struct http_service *h, uint64_t token, uint32_t verdict);
void http_service_room(struct http_service *h);
void http_service_turn(struct http_service *h);
void http_service_tick(struct http_service *h);
void http_service_drain(struct http_service *h);
/* Nothing is under way any more: closes what is open. */
void http_service_shutdown(struct http_service *h);
bool http_service_is_empty(const struct http_service *h);

#endif
