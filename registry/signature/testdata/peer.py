"""Signs and verifies folders with the Python package model_signing.

Reads jobs from standard input, a JSON object a line, and answers each with a line: "ok",
or what was wrong.
"""

import json
import sys

from model_signing import signing, verifying

for line in sys.stdin:
    job = json.loads(line)
    try:
        if job["do"] == "sign":
            config = signing.Config()
            if job["chain"]:
                config.use_certificate_signer(
                    private_key=job["key"], signing_certificate=job["chain"][0], certificate_chain=job["chain"][1:]
                )
            else:
                config.use_elliptic_key_signer(private_key=job["key"])
            config.sign(job["folder"], job["signature"])
        else:
            config = verifying.Config()
            if job["chain"]:
                config.use_certificate_verifier(certificate_chain=job["chain"])
            else:
                config.use_elliptic_key_verifier(public_key=job["key"])
            config.verify(job["folder"], job["signature"])
        print("ok")
    except Exception as e:  # whatever it says is the answer
        print(json.dumps(f"{type(e).__name__}: {e}"))
