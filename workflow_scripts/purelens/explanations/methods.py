"""What ways to explain are called; a name follows where there may be several."""

LINEAR, DISSECT, ELSEWHERE, SHUFFLED = "le:", "clip_dissect:", "elsewhere:", "shuffled:"
NETWORK_DISSECTION = "network_dissection"
