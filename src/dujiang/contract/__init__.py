"""合约: negotiation by the Dataspace Protocol, agreements signed by both sides, and their performance."""
