"""What the end-to-end tests in network namespaces share: hosts and their network, pairs, clients, results."""
