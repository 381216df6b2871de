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

/* Most names have no escapes: they are taken as they are. Stage 1 has made sure that the quote is closed. */
simdjson::error_code
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
int
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

int
member(struct payload_build *b, struct bytes name, json::value &v)
{
	json::json_type type;
	json::object o;
	json::array a;
	struct value out;
	size_t mark;
	bool null;
	simdjson::error_code e = v.type().get(type);
	int err;

	if (e != simdjson::SUCCESS)
		return fail_json(b, e);
	if (type != json::json_type::object && type != json::json_type::array) {
		err = scalar(b, v, type, &out, &null);
		return err || null ? err : payload_value(b, name, &out);
	}
	err = payload_enter(
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

extern "C" int
payload_json_decode(
    struct payload_json *j, struct payload_build *b, struct bytes payload, struct bytes metric)
{
	json::document doc;
	const char *at;
	simdjson::error_code e;
	int err;

	if (payload.len > j->capacity || !j->padded) {
		j->capacity = payload.len < 4096 ? 4096 : payload.len;
		j->padded.reset(new uint8_t[j->capacity + simdjson::SIMDJSON_PADDING]);
	}
	std::memcpy(j->padded.get(), payload.data, payload.len);
	std::memset(j->padded.get() + payload.len, 0, simdjson::SIMDJSON_PADDING);
	e = j->parser
		.iterate(j->padded.get(), payload.len, j->capacity + simdjson::SIMDJSON_PADDING)
		.get(doc);
	if (e != simdjson::SUCCESS)
		return fail_json(b, e);
	err = document(b, doc, j->padded.get() + payload.len, metric);
	if (err && !b->fault_placed && doc.current_location().get(at) == simdjson::SUCCESS) {
		b->fault_at =
		    static_cast<size_t>(at - reinterpret_cast<const char *>(j->padded.get()));
		b->fault_placed = true;
	}
	if (b->fault_at > payload.len)
		b->fault_at = payload.len;
	return err;
}
