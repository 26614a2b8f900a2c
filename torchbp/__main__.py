from torchbp.cli import main

raise SystemExit(main())
