"""The service behind serve.py: a page and an HTTP API that classify clips (docs/serving.md).

request -> guard (host, token) -> spool (upload on disk, bounded) -> jobs (a place in the queue)
        -> decoding (a process of its own) -> models (batches across requests) -> names and scores
"""
