import sys

from anycast_agent.speaker.pipe.shell import main

sys.exit(main(sys.argv[1:]))
