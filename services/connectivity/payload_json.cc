/* payload_json.cc - JSON payloads through simdjson, with a C interface; pure */
/* gcc gathers the halves of simdjson's iterators into vectors that were just stored one by one, and waits for each. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-slp-vectorize")
#endif
#include "payload_build.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include "err.h"

namespace json = simdjson::ondemand;

struct payload_json {
	json::parser parser;
	std::unique_ptr<uint8_t[]> padded; /* the payload and SIMDJSON_PADDING bytes after it */
	size_t capacity = 0;
};

namespace
{

struct bytes
bytes_of_view(std::string_view s)
{
	return { reinterpret_cast<const uint8_t *>(s.data()), s.size() };
}

const char *
sentence(simdjson::error_code e)
{
	switch (e) {
	case simdjson::EMPTY:
		return "the payload is empty";
	case simdjson::UTF8_ERROR:
		return "the payload is not UTF-8";
	case simdjson::UNCLOSED_STRING:
		return "not JSON: a quote is not closed";
	case simdjson::UNESCAPED_CHARS:
		return "not JSON: a control character in a text is not escaped";
	case simdjson::STRING_ERROR:
		return "not JSON: a text has a bad escape";
	case simdjson::NUMBER_ERROR:
	case simdjson::NUMBER_OUT_OF_RANGE:
		return "not JSON: a number is malformed";
	case simdjson::T_ATOM_ERROR:
	case simdjson::F_ATOM_ERROR:
	case simdjson::N_ATOM_ERROR:
	case simdjson::
	    INCORRECT_TYPE: /* the first letter told the type, the rest did not keep it */
		return "not JSON: true, false and null are the only words without quotes";
	case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
		return "not JSON: it ends too early";
	case simdjson::DEPTH_ERROR:
		return "objects are nested too deep";
	default:
		return "not JSON: a value, comma, colon, quote or bracket is missing, or one too "
		       "many";
	}
}

int
fail_json(struct payload_build *b, simdjson::error_code e)
{
	if (e == simdjson::INCOMPLETE_ARRAY_OR_OBJECT) {
		b->fault_at = SIZE_MAX; /* the end, wherever the iteration was */
		b->fault_placed = true;
	}
	return payload_fail(b, ERR_MALFORMED, sentence(e));
}

size_t
digits(std::string_view s)
{
	size_t n = 0;

	while (n < s.size() && s[n] >= '0' && s[n] <= '9')
		n++;
	return n;
}

/* RFC 8259 section 6; token may have spaces behind it. */
bool
is_number(std::string_view s)
{
	size_t n;

	while (!s.empty() && std::strchr(" \t\r\n", s.back()))
		s.remove_suffix(1);
	if (!s.empty() && s[0] == '-')
		s.remove_prefix(1);
	n = digits(s);
	if (n == 0 || (n > 1 && s[0] == '0'))
		return false;
	s.remove_prefix(n);
	if (!s.empty() && s[0] == '.') {
		s.remove_prefix(1);
		n = digits(s);
		if (n == 0)
			return false;
		s.remove_prefix(n);
	}
	if (!s.empty() && (s[0] == 'e' || s[0] == 'E')) {
		s.remove_prefix(1);
		if (!s.empty() && (s[0] == '-' || s[0] == '+'))
			s.remove_prefix(1);
		n = digits(s);
		if (n == 0)
			return false;
		s.remove_prefix(n);
	}
	return s.empty();
}

std::string_view
token_of(json::value &v)
{
	return v.raw_json_token();
}

std::string_view
token_of(json::document &doc)
{
	std::string_view token;

	return doc.raw_json_token().get(token) == simdjson::SUCCESS ? token : std::string_view();
}

/* simdjson refuses numbers that fit neither 64 bits nor a double: the nearest double is taken, infinity included (it is
 * quarantined then). The number is left unread, which the iteration allows. */
template <typename V>
int
number(struct payload_build *b, V &v, struct value *ret)
{
	auto got = v.get_number();
	const json::number &num = got.value_unsafe();

	if (got.error() != simdjson::SUCCESS) {
		std::string_view token = token_of(v);

		if (!is_number(token))
			return fail_json(b, got.error());
		ret->kind = VALUE_DOUBLE;
		ret->v.f = std::strtod(token.data(), nullptr);
	} else if (num.is_int64()) {
		ret->kind = VALUE_INT;
		ret->v.i = num.get_int64();
	} else {
		ret->kind = VALUE_DOUBLE;
		ret->v.f =
		    num.is_double() ? num.get_double() : static_cast<double>(num.get_uint64());
	}
	return 0;
}

/* What follows is on the way of each member, and would not be inlined twice. */
#define INLINE __attribute__((always_inline)) inline

/* Most names have no escapes: they are taken as they are. Stage 1 has made sure that the quote is closed. */
INLINE simdjson::error_code
name_of(json::field &field, struct bytes *ret)
{
	const char *raw = field.key().raw();
	const char *at = raw;
	std::string_view text;
	simdjson::error_code e;

	while (*at != '"' && *at != '\\')
		at++;
	if (*at == '"') {
		*ret = bytes_of_view(std::string_view(raw, static_cast<size_t>(at - raw)));
		return simdjson::SUCCESS;
	}
	e = field.unescaped_key().get(text);
	if (e == simdjson::SUCCESS)
		*ret = bytes_of_view(text);
	return e;
}

/* V: a value, or the document itself. ret_null: there is no value. */
template <typename V>
INLINE int
scalar(struct payload_build *b, V &v, json::json_type type, struct value *ret, bool *ret_null)
{
	simdjson::error_code e = simdjson::SUCCESS;
	std::string_view text;
	bool flag;

	*ret_null = false;
	switch (type) {
	case json::json_type::number:
		return number(b, v, ret);
	case json::json_type::string:
		e = v.get_string().get(text);
		if (e == simdjson::SUCCESS) {
			ret->kind = VALUE_STRING;
			ret->v.s = bytes_of_view(text);
		}
		break;
	case json::json_type::boolean:
		e = v.get_bool().get(flag);
		if (e == simdjson::SUCCESS) {
			ret->kind = VALUE_BOOL;
			ret->v.b = flag;
		}
		break;
	case json::json_type::null:
		*ret_null = true;
		e = simdjson::simdjson_result<bool>(v.is_null()).get(flag);
		if (e == simdjson::SUCCESS && !flag)
			e = simdjson::N_ATOM_ERROR;
		break;
	default:
		e = simdjson::TAPE_ERROR;
		break;
	}
	return e == simdjson::SUCCESS ? 0 : fail_json(b, e);
}

int object(struct payload_build *b, json::object &o);
int array(struct payload_build *b, json::array &a);

INLINE int
container(struct payload_build *b, struct bytes name, json::value &v, json::json_type type)
{
	json::object o;
	json::array a;
	size_t mark;
	simdjson::error_code e;
	int err = payload_enter(
	    b, type == json::json_type::object ? PAYLOAD_OBJECT : PAYLOAD_ARRAY, name, &mark);

	if (err)
		return err;
	if (type == json::json_type::object) {
		e = v.get_object().get(o);
		err = e == simdjson::SUCCESS ? object(b, o) : fail_json(b, e);
	} else {
		e = v.get_array().get(a);
		err = e == simdjson::SUCCESS ? array(b, a) : fail_json(b, e);
	}
	if (!err)
		payload_leave(b, mark);
	return err;
}

int
member(struct payload_build *b, struct bytes name, json::value &v)
{
	json::json_type type;
	struct value out;
	bool null;
	simdjson::error_code e = v.type().get(type);
	int err;

	if (e != simdjson::SUCCESS) {
		err = fail_json(b, e);
	} else if (type == json::json_type::object || type == json::json_type::array) {
		err = container(b, name, v, type);
	} else {
		err = scalar(b, v, type, &out, &null);
		if (!err && !null)
			err = payload_value(b, name, &out);
	}
	if (err)
		payload_fault_field(b, name);
	return err;
}

/* The iterators are unpacked by hand: copied as range-for does it, they cost more than the parsing. */
int
object(struct payload_build *b, json::object &o)
{
	auto begin = o.begin();
	auto end = o.end();
	struct bytes name;
	int err;

	if (begin.error() != simdjson::SUCCESS)
		return fail_json(b, begin.error());
	for (auto &it = begin.value_unsafe(); it != end.value_unsafe(); ++it) {
		auto got = *it;
		simdjson::error_code e = got.error();

		if (e == simdjson::SUCCESS)
			e = name_of(got.value_unsafe(), &name);
		if (e != simdjson::SUCCESS)
			return fail_json(b, e);
		err = member(b, name, got.value_unsafe().value());
		if (err)
			return err;
	}
	return 0;
}

int
array(struct payload_build *b, json::array &a)
{
	char text[PAYLOAD_INDEX_MAX];
	uint32_t index = 0;
	int err;

	for (auto got : a) {
		if (got.error() != simdjson::SUCCESS)
			return fail_json(b, got.error());
		err = member(b, payload_index(text, index++), got.value_unsafe());
		if (err)
			return err;
	}
	return 0;
}

int
sample(struct payload_build *b, json::object &o)
{
	int err;

	payload_sample_begin(b);
	err = object(b, o);
	return err ? err : payload_sample_end(b);
}

int
samples(struct payload_build *b, json::array &a)
{
	json::value v;
	json::object o;
	json::json_type type;
	simdjson::error_code e;
	int err;

	for (auto got : a) {
		/* NOLINTNEXTLINE(performance-move-const-arg): get() is of what is about to go */
		e = std::move(got).get(v);
		if (e == simdjson::SUCCESS)
			e = v.type().get(type);
		if (e != simdjson::SUCCESS)
			return fail_json(b, e);
		if (type != json::json_type::object)
			return payload_fail(
			    b, ERR_MALFORMED, "an element of the outermost array is not an object");
		e = v.get_object().get(o);
		if (e != simdjson::SUCCESS)
			return fail_json(b, e);
		err = sample(b, o);
		if (err)
			return err;
	}
	return 0;
}

int
document(struct payload_build *b, json::document &doc, const uint8_t *end, struct bytes metric)
{
	json::json_type type;
	json::object o;
	json::array a;
	std::string_view token;
	struct value out;
	bool null;
	simdjson::error_code e = doc.type().get(type);
	int err;

	if (e == simdjson::SUCCESS && type == json::json_type::object) {
		e = doc.get_object().get(o);
		if (e == simdjson::SUCCESS && (err = sample(b, o)) != 0)
			return err;
	} else if (e == simdjson::SUCCESS && type == json::json_type::array) {
		e = doc.get_array().get(a);
		if (e == simdjson::SUCCESS && (err = samples(b, a)) != 0)
			return err;
	} else if (e == simdjson::SUCCESS) {
		e = doc.raw_json_token().get(token);
		if (e != simdjson::SUCCESS)
			return fail_json(b, e);
		err = scalar(b, doc, type, &out, &null);
		if (!err && reinterpret_cast<const uint8_t *>(token.data() + token.size()) != end)
			err =
			    payload_fail(b, ERR_MALFORMED, "not JSON: something follows the value");
		return err || null ? err : payload_bare(b, metric, &out);
	}
	if (e != simdjson::SUCCESS)
		return fail_json(b, e);
	if (doc.current_location().error() != simdjson::OUT_OF_BOUNDS)
		return payload_fail(b, ERR_MALFORMED, "not JSON: something follows the value");
	return 0;
}

} // namespace

extern "C" struct payload_json *
payload_json_new(void)
{
	return new payload_json;
}

extern "C" void
payload_json_free(struct payload_json *j)
{
	delete j;
}

namespace
{

/* The payload, padded, as a document. */
INLINE simdjson::error_code
open_document(struct payload_json *j, struct bytes payload, json::document *ret)
{
	if (payload.len > j->capacity || !j->padded) {
		j->capacity = payload.len < 4096 ? 4096 : payload.len;
		j->padded.reset(new uint8_t[j->capacity + simdjson::SIMDJSON_PADDING]);
	}
	std::memcpy(j->padded.get(), payload.data, payload.len);
	std::memset(j->padded.get() + payload.len, 0, simdjson::SIMDJSON_PADDING);
	return j->parser
	    .iterate(j->padded.get(), payload.len, j->capacity + simdjson::SIMDJSON_PADDING)
	    .get(*ret);
}

/* Where the iteration stopped, if it is not known better. */
int
failed_at(struct payload_json *j, struct payload_build *b, struct bytes payload,
    json::document &doc, int err)
{
	const char *at;

	if (err && !b->fault_placed && doc.current_location().get(at) == simdjson::SUCCESS) {
		b->fault_at =
		    static_cast<size_t>(at - reinterpret_cast<const char *>(j->padded.get()));
		b->fault_placed = true;
	}
	if (b->fault_at > payload.len)
		b->fault_at = payload.len;
	return err;
}

int
walk(struct payload_build *b, json::document &doc, payload_json_fn fn, void *arg)
{
	json::object o;
	simdjson::error_code e = doc.get_object().get(o);

	if (e != simdjson::SUCCESS)
		return fail_json(b, e);
	for (auto got : o) {
		struct bytes name = { nullptr, 0 };
		json::json_type type = json::json_type::null;
		struct value v;
		bool null = false;
		int err;

		e = got.error();
		if (e == simdjson::SUCCESS)
			e = name_of(got.value_unsafe(), &name);
		if (e == simdjson::SUCCESS)
			e = got.value_unsafe().value().type().get(type);
		if (e != simdjson::SUCCESS)
			err = fail_json(b, e);
		else if (type == json::json_type::object || type == json::json_type::array)
			err = payload_fail(b, ERR_MALFORMED, "a member is an object or an array");
		else
			err = scalar(b, got.value_unsafe().value(), type, &v, &null);
		if (!err)
			err = fn(arg, name, null ? nullptr : &v);
		if (err) {
			payload_fault_field(b, name);
			return err;
		}
	}
	if (doc.current_location().error() != simdjson::OUT_OF_BOUNDS)
		return payload_fail(b, ERR_MALFORMED, "not JSON: something follows the value");
	return 0;
}

} // namespace

extern "C" int
payload_json_decode(
    struct payload_json *j, struct payload_build *b, struct bytes payload, struct bytes metric)
{
	json::document doc;
	simdjson::error_code e = open_document(j, payload, &doc);

	if (e != simdjson::SUCCESS)
		return fail_json(b, e);
	return failed_at(
	    j, b, payload, doc, document(b, doc, j->padded.get() + payload.len, metric));
}

extern "C" int
payload_json_walk(struct payload_json *j, struct payload_build *b, struct bytes text,
    payload_json_fn fn, void *arg)
{
	json::document doc;
	simdjson::error_code e = open_document(j, text, &doc);

	if (e != simdjson::SUCCESS)
		return fail_json(b, e);
	return failed_at(j, b, text, doc, walk(b, doc, fn, arg));
}
