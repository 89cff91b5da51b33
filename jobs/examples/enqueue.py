# AMZIGO_API=http://127.0.0.1:8481 AMZIGO_API_KEY=… SELLER=… python3 enqueue.py
import json
import os
import sys
import urllib.error
import urllib.request

seller = os.environ["SELLER"]
request = urllib.request.Request(
    os.environ["AMZIGO_API"] + "/v1/jobs",
    data=json.dumps({"kind": "sync_orders", "payload": {"seller": seller}}).encode(),
    headers={
        "Authorization": "Bearer " + os.environ["AMZIGO_API_KEY"],
        "Content-Type": "application/json",
        "Idempotency-Key": "first-sync/" + seller,
    },
)
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        job = json.load(answer)
except urllib.error.HTTPError as refused:
    # A problem in JSON: it names the field, and what would be right.
    sys.exit(refused.read().decode())
print(job["outcome"], job["id"])
