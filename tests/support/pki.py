"""pki.py - a CA of the openssl command: certificates for servers and devices, CRLs; nothing of Roost has a part in it

    pki = Pki(folder)
    r = Roost(dict(pki.server(), **{"mqtts.listen": "127.0.0.1:0"}))
    pki.device("gh-1")      # gh-1.crt, gh-1.key
"""
import os
import subprocess

CONFIG = """
[ca]
default_ca = main
[main]
dir = %(folder)s
database = %(folder)s/%(ca)s.index
serial = %(folder)s/%(ca)s.serial
new_certs_dir = %(folder)s
certificate = %(folder)s/%(ca)s.crt
private_key = %(folder)s/%(ca)s.key
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


def openssl(*arguments, check=True, **kw):
    out = subprocess.run(["openssl"] + list(arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, timeout=60, **kw)
    if check and out.returncode != 0:
        raise AssertionError("openssl %s: %s" % (" ".join(arguments), out.stderr))
    return out


class Pki:
    def __init__(self, folder, ca="ca", days=30):
        self.folder = folder
        self.name = ca
        os.makedirs(folder, exist_ok=True)
        self.key("%s.key" % ca)
        openssl("req", "-x509", "-new", "-key", self.path("%s.key" % ca), "-out", self.ca, "-days", str(days), "-subj", "/CN=test " + ca,
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        for suffix, text in (("index", ""), ("serial", "1000\n"), ("cnf", CONFIG % {"folder": folder, "ca": ca})):
            with open(self.path("%s.%s" % (ca, suffix)), "w", encoding="ascii") as f:
                f.write(text)

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def ca(self):
        return self.path("%s.crt" % self.name)

    def key(self, name, kind="P-256"):
        how = ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"] if kind == "rsa" else ["EC", "-pkeyopt", "ec_paramgen_curve:" + kind]
        openssl("genpkey", "-algorithm", *how, "-out", self.path(name))
        os.chmod(self.path(name), 0o600)

    def issue(self, name, extensions, days=20, subject=None, kind="P-256", start=None, end=None):
        """name.crt and name.key; start, end: YYYYMMDDHHMMSSZ instead of days."""
        self.key(name + ".key", kind)
        with open(self.path("extensions"), "w", encoding="ascii") as f:
            f.write(extensions + "\n")
        openssl("req", "-new", "-key", self.path(name + ".key"), "-out", self.path("request"), "-subj", subject or "/CN=" + name)
        when = ["-startdate", start, "-enddate", end] if start else ["-days", str(days)]
        openssl("ca", "-batch", "-config", self.path(self.name + ".cnf"), "-in", self.path("request"), "-notext",
                "-out", self.path(name + ".crt"), "-extfile", self.path("extensions"), *when)
        return self.path(name + ".crt"), self.path(name + ".key")

    def server(self, name="server", names="DNS:localhost,IP:127.0.0.1", more="", **kw):
        """The settings of a server with a certificate for these names."""
        crt, key = self.issue(name, "subjectAltName=%s\nextendedKeyUsage=serverAuth\n%s" % (names, more), subject="/CN=a server", **kw)
        return {"tls.certificate": crt, "tls.key": key}

    def device(self, name, **kw):
        return self.issue(name, "extendedKeyUsage=clientAuth", **kw)

    def revoke(self, name):
        openssl("ca", "-config", self.path(self.name + ".cnf"), "-revoke", self.path(name + ".crt"))

    def crl(self, seconds=86400):
        """Writes the CRL as it is now; over after so many seconds."""
        openssl("ca", "-config", self.path(self.name + ".cnf"), "-gencrl", "-crlsec", str(seconds), "-out", self.path("new.crl"))
        os.rename(self.path("new.crl"), self.path(self.name + ".crl"))
        return self.path(self.name + ".crl")
