"""An S3 peer for tests: moto on a free port of loopback; prints the port, ends when its input does.

usage: s3_peer.py BUCKET
"""
import http.client
import sys

from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
connection = http.client.HTTPConnection(host, port)
connection.request("PUT", f"/{sys.argv[1]}", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"})
assert connection.getresponse().status == 200, "no bucket"
print(port, flush=True)
sys.stdin.read()
