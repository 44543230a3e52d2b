"""Ready files that let the operating system keep the supervisor running: systemd, launchd, Windows Task Scheduler."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

KINDS = ("systemd", "launchd", "windows")

_SYSTEMD = """# ~/.config/systemd/user/crypto-lake.service
#   systemctl --user enable --now crypto-lake      start it, now and at every boot
#   loginctl enable-linger "$USER"                 ... without anybody logged in
[Unit]
Description=Crypto Lake, a record of the market
After=network-online.target
Wants=network-online.target

[Service]
WorkingDirectory={root}
ExecStart={python} {supervisor} --config {config}
KillSignal=SIGINT
KillMode=mixed
TimeoutStopSec=30
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2

[Install]
WantedBy=default.target
"""

_LAUNCHD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- ~/Library/LaunchAgents/crypto-lake.plist
     launchctl load -w ~/Library/LaunchAgents/crypto-lake.plist -->
<plist version="1.0">
<dict>
  <key>Label</key><string>crypto-lake</string>
  <key>WorkingDirectory</key><string>{root}</string>
  <key>ProgramArguments</key>
  <array>
    <string>{python}</string>
    <string>{supervisor}</string>
    <string>--config</string>
    <string>{config}</string>
  </array>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
  <key>ExitTimeOut</key><integer>30</integer>
  <key>ProcessType</key><string>Adaptive</string>
</dict>
</plist>
"""

_WINDOWS = """<?xml version="1.0" encoding="UTF-16"?>
<!-- schtasks /Create /TN "Crypto Lake" /XML crypto-lake.xml -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <Triggers><LogonTrigger><Enabled>true</Enabled></LogonTrigger></Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>999</Count></RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{python}</Command>
      <Arguments>"{supervisor}" --config "{config}"</Arguments>
      <WorkingDirectory>{root}</WorkingDirectory>
    </Exec>
  </Actions>
</Task>
"""


def unit(kind: str, config: Path, root: Path, python: str = sys.executable) -> str:
    """The file for one of KINDS; paths are written out in full, for a service has no folder of its own."""
    if kind == "systemd":
        quoted = {"python": _quoted(python), "supervisor": _quoted(root / "supervisor.py"), "config": _quoted(config)}
        return _SYSTEMD.format(root=str(root).replace("%", "%%"), **quoted)
    template = {"launchd": _LAUNCHD, "windows": _WINDOWS}[kind]
    names = {"python": python, "supervisor": root / "supervisor.py", "config": config, "root": root}
    return template.format(**{name: escape(str(value)) for name, value in names.items()})


def _quoted(path: Path | str) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'


def here() -> str:
    """The kind that this machine understands."""
    if os.name == "nt":
        return "windows"
    return "launchd" if sys.platform == "darwin" else "systemd"
