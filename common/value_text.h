/* value_text.h - values and strings as people and JSON read them; pure */
#ifndef ROOST_VALUE_TEXT_H
#define ROOST_VALUE_TEXT_H

#include "buf.h"
#include "record.h"

/* The shortest decimal that reads back as f: "41.5", "1e+300", "nan". */
void double_put(struct buf *out, double f);
/* 41.5, 40, true, or the string as it is. */
void value_put_text(struct buf *out, const struct value *v);
/* As JSON: what is not finite becomes null. */
void value_put_json(struct buf *out, const struct value *v);
/* A JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD. */
void json_put_string(struct buf *out, struct bytes s);

#endif
