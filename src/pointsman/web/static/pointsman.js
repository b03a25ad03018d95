// Keys and live updates. Every page works without this file.
"use strict";
