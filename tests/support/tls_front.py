"""TLS before a server that speaks none: tls_front.py CERT KEY PORT. Prints its own port, then forwards until it is killed."""
import asyncio
import ssl
import sys

cert, key, port = sys.argv[1], sys.argv[2], int(sys.argv[3])


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def forward(reader, writer):
    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pipe(reader, to_writer), pipe(to_reader, writer))


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    own = server.sockets[0].getsockname()[1]
    # Under an address that no certificate names, too.
    other = await asyncio.start_server(forward, "127.0.0.2", own, ssl=context)
    print(own, flush=True)
    await asyncio.gather(server.serve_forever(), other.serve_forever())


asyncio.run(main())
