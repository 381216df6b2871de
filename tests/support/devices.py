"""devices.py - what the registry knows, read by sqlite3 and redis-cli and not by Roost"""
import csv
import hashlib
import io
import json
import os
import sqlite3

DEVICE, CREDENTIAL = 41, 42


def device(r, *arguments, tool="device", seconds=120, **kw):
    """roost device ...; a CompletedProcess."""
    import roost
    return roost.run([roost.ROOST, tool] + list(arguments) + ["--set", "data_dir=" + r.data_dir], seconds,
                     cwd=roost.ROOT, env=r.environment, **kw)


def done(r, *arguments, code=0, **kw):
    out = device(r, *arguments, **kw)
    assert out.returncode == code, "%r: exit %d: %s%s" % (arguments, out.returncode, out.stdout, out.stderr)
    return out


def shown(r, name):
    return json.loads(done(r, "show", name, "--json").stdout)


def lookup_of(token):
    return hashlib.sha256(b"roost-token" + token.encode()).hexdigest()[:32]


def rows(r, sql, *values):
    db = sqlite3.connect("file:%s?mode=ro" % os.path.join(r.data_dir, "registry/registry.db"), uri=True, timeout=10)
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.close()


def counts(r):
    """Devices and credentials that are not gone."""
    return tuple(rows(r, "SELECT count(*) FROM object WHERE type=? AND gone=0", t)[0][0] for t in (DEVICE, CREDENTIAL))


def in_redis(r):
    """{key: value} of the registry's devices and credentials, as Redis holds them."""
    script = ("local all = {} for _, k in ipairs(redis.call('KEYS', 'roost:registry:[dc]*')) do "
              "local v = redis.call('TYPE', k).ok == 'hash' and redis.call('HGET', k, 'm') or redis.call('GET', k) "
              "all[#all + 1] = k all[#all + 1] = redis.sha1hex(v or '') end return all")
    words = r.redis("EVAL", script, "0").split("\n")
    return dict(zip(words[0::2], words[1::2]))


def in_db(r):
    """The same, as registry.db holds them."""
    found = {}
    for key, body in rows(r, "SELECT key, body FROM object WHERE gone=0 AND type IN (41, 42)"):
        kind, name = bytes(key).decode().split("/", 1)
        found["roost:registry:%s:%s" % (kind, name.replace("/", ":", 1) if kind == "credential" else name)] = \
            hashlib.sha1(bytes(body)).hexdigest()
    return found


def redis_is_whole(r):
    return r.redis("HGET", "roost:registry", "complete") == "1" and in_redis(r) == in_db(r)


def exported(r):
    return list(csv.DictReader(io.StringIO(done(r, "export").stdout)))
