"""How fast this machine is, and how much of that training reaches."""
