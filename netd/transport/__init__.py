"""The data plane: opening sockets, the loop, stream servers and connections, datagram servers and batches."""
