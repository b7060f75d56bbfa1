"""How people speak to a home assistant, written down as templates: the data of the `home` generator, no code.

One template per line. `[a|b|]` picks one alternative (the last one here is empty), `{slot}` is filled from `VALUES`,
and `{slot:kind}` is filled from another list of values. A line that starts with `~` is no order ("it is dark in here"),
so it gets no "can you". A line that starts with `*` belongs to the test: training never sees it.
"""

from __future__ import annotations

TEMPLATES: dict[str, str] = {
    "iot_cleaning": """
[start|run|activate|turn on|switch on|begin|launch] [the|my|] {device_type:cleaner}
[start|run|activate|turn on|use] [the|my] {device_type:cleaner} [now|right now|again]
[start|run|turn on|activate] [the|my] {device_type:cleaner} [at|by|after] {time}
[start|run|turn on] [the|my] {device_type:cleaner} in [the|my] {house_place}
[vacuum|clean|sweep|hoover|mop] [the|my|our] {house_place}
[vacuum|clean|sweep|hoover|mop] [the|my] {house_place} [at|before] {time}
[vacuum|clean|sweep] [the|my] {house_place} {date}
[clean|vacuum] up [the|my] {house_place} [now|a bit|again]
[have|let|make|get] [the|my] {device_type:cleaner} [to|] [clean|do|sweep] the {house_place}
[tell|ask] [the|my] {device_type:cleaner} to [start|clean|begin|get going|vacuum]
[send|set] the {device_type:cleaner} to [clean|work on] [the|my] {house_place}
[start|begin|do some|initiate] [cleaning|vacuuming|the cleaning|hoovering]
[start|begin] [cleaning|vacuuming] [the|my] {house_place}
[set|put] [the|my] {device_type:cleaner} [on|to work|to on|in motion]
{device_type:cleaner} [on|start|go|please start]
~i [need|want|would like] [the|my] {house_place} [cleaned|vacuumed|to be cleaned]
~i [need|want|would like] the {device_type:cleaner} to [clean|run|start]
~[the|my] {house_place} is [dirty|a mess|dusty] [clean it|vacuum it|start cleaning|]
~it is [dirty|dusty|messy] in [here|the house] [clean up|start cleaning|vacuum now]
~it's time to [clean|vacuum] the {house_place}
[turn on|start] [the|] vacuum cleaning
[clean|vacuum|sweep] [everything|up|now|around|here]
[clean|vacuum] the {house_place} [with|using] the {device_type:cleaner}
[schedule|plan] [the|my] {device_type:cleaner} [for|at] {time}
[let|have] the {device_type:cleaner} [run|go|clean] [now|at once|please|]
*[please|] get the {device_type:cleaner} to [clean|vacuum] [my|the] {house_place}
*[could you|] do some vacuuming in [the|my] {house_place}
*~the {house_place} needs [cleaning|vacuuming|to be vacuumed]
*[run|use] the {device_type:cleaner} in the {house_place} [now|again|please]
*~i would like you to [clean|sweep] the {house_place}
*[start|begin] cleaning with the {device_type:cleaner}
""",
    "iot_coffee": """
[make|brew|prepare|fix|get] [me|us|] [a|some|a cup of|a fresh|a pot of] coffee
[make|brew|prepare|get|fix] [me|us|] [a|an|one] {coffee_type}
[make|brew|prepare|get|fix] [me|us|] [a|some|] {coffee_type:coffee_adjective} coffee
[make|brew|have] [a|some|my|the] coffee [ready|] [at|by|for] {time}
[make|brew|prepare] [a|some|my] coffee [for|] {date}
[turn on|start|switch on|activate|run] [the|my] {device_type:coffee_maker}
[turn|switch] [the|my] {device_type:coffee_maker} on
[turn on|start|set] [the|my] {device_type:coffee_maker} [at|for] {time}
[start|begin] [brewing|making] [the|my|some|] coffee [now|please|]
[start|begin] [the|my|] coffee
~i [want|need|would like|could use|would love] [a|some|a cup of|a hot cup of] coffee
~i [want|need|would like|could use] [a|an|one] {coffee_type} [please|now|]
~i [want|need|would like] [a|some|] {coffee_type:coffee_adjective} coffee
~i'd [like|love] [a|some|a cup of] coffee
~i'd [like|love] [a|an] {coffee_type}
[a|one|some] coffee [please|for me|right now]
[one|a|an] {coffee_type} [please|for me]
[set|tell|ask] [the|my] {device_type:coffee_maker} to [brew|make coffee|make a cup|start]
[use|have] the {device_type:coffee_maker} [to|] make [me|] [a|an] {coffee_type}
~[can|could|may] i [have|get] [a|some|a cup of] coffee
~[can|could|may] i [have|get] [a|an] {coffee_type} [please|]
~it's [time for|] coffee time
[set|program] coffee [to brew|] [at|for] {time}
[is there] [any|] coffee [ready|] [make some|brew some]
[get|have] my {coffee_type} ready [by|at|for] {time}
*[make|prepare] coffee for [me|us] [now|please|]
*~i would really [like|love] [a|an] {coffee_type} [now|]
*~could i get [a|an] {coffee_type} [please|]
*[get|have] the {device_type:coffee_maker} to make [some|] coffee
*~it is {time} [make|brew] me a coffee
*[have|get] some coffee ready for me
""",
    "iot_hue_lightchange": """
[change|switch|turn|set|make] [the|my|] [lights|light] [to|] {color_type}
[change|switch|turn|set] [the|my] {house_place} [lights|light|lamp] to {color_type}
[make|turn] [the|my] {house_place} [lights|light] {color_type}
[change|set|switch] [the|] [color|colour] of [the|my] [lights|light] [to|into] {color_type}
[change|set|switch] [the|my|] light [color|colour] [to|into] {color_type}
[change|set|switch] [the|my|] [lights|light] [color|colour] in [the|my] {house_place} to {color_type}
[change|set|switch|turn] the [lights|light] in [the|my] {house_place} to {color_type}
[make|turn] the [lights|light] in [the|my] {house_place} {color_type}
[change|switch|adjust] [the|my] [color of the lights|light color|lighting|lights|light colour]
[change|switch] the [lights|light color|lighting] in [the|my] {house_place}
[use|show|give me|try] {color_type} [lights|light|lighting]
[use|try|put on] {color_type} [lights|light] in the {house_place}
[set|put] [the|] [lights|light] [on|at|as] {color_type}
~i [want|need|would like|prefer] [the|] {color_type} [lights|light]
~i [want|would like] [the|my] [lights|light] to be {color_type}
~i [want|would like] the {house_place} [lights|light] to be {color_type}
~i [want|would like] [a|] {color_type} [lighting|light] in the {house_place}
~i [want|would like] [another|a different|a new] [light color|color|color of light]
~[can|could] [i|we] have {color_type} [lights|light|lighting] [please|]
[give me|use|pick|choose] [another|a different|a new] [light color|color for the lights]
{color_type} [lights|light] [please|now]
{color_type} [lights|light] in the {house_place}
[color|colour|paint] the [lights|room] {color_type}
[set|make] [the|] [mood|lighting] [to|] {color_type}
*[let|have] the lights be {color_type}
*[use|try] {color_type} for the {house_place} [lights|light]
*~i need {color_type} lights in [the|my] {house_place}
*[turn|change] the color of the {house_place} [lights|light] to {color_type}
*~could the lights be {color_type} [please|]
*~i want to change the [light color|color of the lights]
""",
    "iot_hue_lightdim": """
[dim|lower|reduce|decrease|turn down|bring down] [the|my|these|] [lights|light|lighting|brightness]
[dim|lower|reduce|turn down] [the|my] {house_place} [lights|light|lighting]
[dim|lower|reduce|turn down|decrease] the [lights|light|brightness] in [the|my|] {house_place}
[dim|lower|turn down|reduce|decrease] [the|my] [lights|light|brightness] {change_amount:lower}
[dim|lower|turn down|reduce] [the|my] {house_place} [lights|light] {change_amount:lower}
[dim|lower|turn down|reduce] [the|] [lights|light] in [the|my] {house_place} {change_amount:lower}
[turn|bring|take] [the|] [lights|light|brightness] [down|lower]
[turn|bring|take] the [lights|light] down in [the|my] {house_place}
[turn|bring|take] the [lights|light|brightness] down {change_amount:lower}
[make|get] [the|] [lights|light|room|lighting] [dimmer|less bright|darker|softer]
[make|get] the {house_place} [dimmer|less bright|darker]
[reduce|lower|decrease] the [intensity|brightness|level|strength] of [the|my] [lights|light|lamp]
[set|switch|put] [the|] [lights|light|brightness] [down|lower|to dim|on low|to low]
[lights|light|brightness] [down|lower|dim] [please|]
~[it's|it is|this is] too [bright|light] [in here|here|]
~[it's|it is] too bright in [the|my] {house_place}
~the [light|lights|lamp] [is|are] too [bright|strong]
~i [want|need|would like] [less|dimmer|softer|lower] [light|lights|lighting]
~i [want|need|would like] [less|dimmer|softer] [light|lighting] in the {house_place}
~i [want|would like] the [lights|light] [dimmed|lower|turned down|less bright]
[less|dimmer|softer] [light|lights|lighting] [please|]
[less|softer|low] [light|lighting] in the {house_place}
[give me] [less|dimmer|low|softer] [light|lights|lighting]
~can [the|] [lights|light] be [dimmed|turned down|lower]
~can [i|we] have [the|] [lights|light] [dimmed|lower|down]
*[can you|] get the [lights|light] [a bit lower|lower] in the {house_place}
*~there is too much light in the {house_place}
*[bring|turn] the brightness down in the {house_place}
*~the {house_place} is too bright
*[bring|take] the {house_place} [lights|light] down {change_amount:lower}
*~i would like the {house_place} [lights|light] dimmer
""",
    "iot_hue_lightoff": """
[turn off|switch off|shut off|kill|cut|put off] [the|my|all the|all|] [lights|light]
[turn|switch|shut] [the|my|all the|all] [lights|light] off
[turn off|switch off|shut off|kill] [the|my|all the] {house_place} [lights|light]
[turn|switch|shut] [the|my|all the] {house_place} [lights|light] off
[turn off|switch off|shut off|put out] [the|all the|] [lights|light] in [the|my|this|] {house_place}
[turn|switch|shut] [the|all the|] [lights|light] off in [the|my|this] {house_place}
[turn|switch|shut] [the|all the] [lights|light] in [the|my|this] {house_place} off
[lights|light] [off|out] [please|now|]
[lights|light] off in [the|my] {house_place}
{house_place} [lights|light] off [please|]
[turn off|switch off] [the|my] {device_type:lamp}
[turn off|switch off] the {device_type:lamp} in [the|my] {house_place}
[turn off|switch off|shut off] [the|] [lights|light] [at|after] {time}
[make|keep] [it|the room|everything] dark
[make|keep] the {house_place} dark
~i [want|need|would like] [the|all the] [lights|light] [off|out|turned off|switched off]
~i [want|need|would like] the {house_place} [lights|light] [off|turned off]
~i [want|need|would like] the [lights|light] in [the|my] {house_place} [off|turned off]
~i [don't|do not] [need|want] [the|any] [light|lights] [now|anymore|]
~can the [lights|light] be [turned|switched] off
~can we have the [lights|light] off in the {house_place}
[stop|disable|deactivate|power off] [the|all the] [lights|light]
[disable|deactivate|power off] the {house_place} [lights|light]
[no more|no] [light|lights] [please|in here|]
~[time to sleep|i am going to bed|good night] [turn off|switch off] the [lights|light]
*~i do not want [the lights|any light] on [anymore|now]
*[have|get] the {house_place} [lights|light] turned off
*[please|] all [the|] lights in the {house_place} off
*~no one is in the {house_place} turn [off the light|the lights off]
*~you can turn off the {house_place} [lights|light] now
*[could you|] have the lights off in the {house_place}
""",
    "iot_hue_lighton": """
[turn on|switch on|put on|activate] [the|my|all the|all|] [lights|light]
[turn|switch|put] [the|my|all the|all] [lights|light] on
[turn on|switch on|put on] [the|my|all the] {house_place} [lights|light]
[turn|switch|put] [the|my|all the] {house_place} [lights|light] on
[turn on|switch on|light up] the [lights|light] in [the|my] {house_place}
[turn|switch] [the|all the] [lights|light] on in [the|my] {house_place}
[lights|light] on [please|now|]
[lights|light] on in [the|my] {house_place}
{house_place} [lights|light] on [please|]
[turn on|switch on] [the|my] {device_type:lamp}
[turn on|switch on] the {device_type:lamp} in the {house_place}
~[it's|it is] [dark|too dark|so dark|very dark|pitch dark] [in here|here|]
~[it's|it is] [dark|too dark] in the {house_place}
~i [can't|can not] see [in the dark|a thing in here it's dark|it's so dark] [turn on the lights|]
~i [want|need|would like] [the|] [lights|light] on
~i [want|need|would like] the {house_place} [lights|light] on
~can the [lights|light] be [turned|switched] on
[light up|illuminate] [the room|this place|the house]
[light up|illuminate] the {house_place}
[start|enable|power on|activate] [the|all the] [lights|light]
[enable|power on|activate] the {house_place} [lights|light]
~i am [home|back|awake] [turn on|switch on] the [lights|light]
*[have|get] the [lights|light] turned on
*[have|get] the {house_place} [lights|light] turned on
*~the {house_place} is [dark|too dark]
*~i would like some light in the {house_place}
*[could we|] have the lights on in the {house_place}
""",
    "iot_hue_lightup": """
[brighten|increase|raise|turn up|boost|brighten up] [the|my|these|] [lights|light|lighting|brightness]
[brighten|increase|raise|turn up] [the|my] {house_place} [lights|light|lighting]
[brighten|increase|raise|turn up] the [lights|light|brightness|lighting] in [the|my] {house_place}
[brighten|increase|raise|turn up] [the|my] [lights|light|brightness] {change_amount:higher}
[brighten|increase|raise|turn up] [the|my] {house_place} [lights|light] {change_amount:higher}
[turn|bring] [the|] [lights|light|brightness] [up|higher]
[turn|bring] the [lights|light] up in [the|my] {house_place}
[turn|bring] the [lights|light|brightness] up {change_amount:higher}
[make|get] [the|it|] [lights|light|room|lighting] [brighter|more bright|lighter]
[make|get] the {house_place} [brighter|lighter]
make it [brighter|lighter] [in here|please|]
[increase|raise] the [intensity|brightness|level|strength] of [the|my] [lights|light]
[increase|raise] the [light|brightness] of the {device_type:lamp}
[set|switch|put] [the|] [lights|light|brightness] [up|higher|brighter]
[set|put] the [lights|light|brightness] {change_amount:higher}
[lights|light|brightness] up [please|]
[brighter|more] [light|lights] [please|]
[more|brighter] [light|lights] in the {house_place}
[give me|i need some] [more|brighter] [light|lights|lighting]
[give me] more light in the {house_place}
~i [want|need|would like] [more|brighter|some more] [light|lights|lighting]
~i [want|need|would like] [more|brighter] light in the {house_place}
~can the [lights|light] be [brighter|turned up|raised]
~[can we|we need to] turn up the [lights|light]
~the [light|lights] [is|are] [too low|too dim|too weak|not bright enough]
[brighten|brighten up] [this room|the room|this place]
[brighten|brighten up] the {house_place}
*[please|] get more light in [the|my] {house_place}
*~i would like the {house_place} [lights|light] brighter
*[bring|put] the {house_place} [lights|light] up {change_amount:higher}
*~the {house_place} is [too dim|not bright enough]
*~there is not enough light in [here|the {house_place}]
""",
    "iot_wemo_off": """
[turn off|switch off|shut off|disable|deactivate|power off|stop|cut off] [the|my|this|] {device_type:plug}
[turn|switch|shut] [the|my|this|] {device_type:plug} off
[turn off|switch off|shut off|disable] [the|my] {device_type:plug} in [the|my] {house_place}
[turn|switch] the {device_type:plug} in [the|my] {house_place} off
[turn off|switch off|shut off|disable] [the|my] {house_place} {device_type:plug}
[turn|switch|shut] [the|my] {house_place} {device_type:plug} off
{device_type:plug} off [please|now|]
[turn off|switch off|shut off|stop] [the|my] {device_type:appliance}
[turn|switch|shut] [the|my] {device_type:appliance} off
[turn off|switch off|stop] the {device_type:appliance} in the {house_place}
[set|put|keep] [the|my] {device_type:plug} [to off|off|in off mode]
~i [want|need|would like] [the|my] {device_type:plug} [off|turned off|disabled|to be off]
~i [want|need|would like] [the|my] {device_type:appliance} [off|turned off|to be off]
~can the {device_type:plug} be [turned|switched] off
[cut|kill|turn off] the power [to|of] the {device_type:plug}
[turn off|switch off] the {device_type:plug} [at|after] {time}
[make sure|see that] the {device_type:plug} is [off|turned off]
[power down|unplug] the {device_type:plug}
[turn off|switch off] [everything|all plugs|all the sockets]
*[get|have] the {device_type:plug} turned off
*[get|have] the {device_type:plug} in the {house_place} turned off
*~the {device_type:plug} should be off
*~i am done with the {device_type:appliance} turn it off
*[please|] no power for the {device_type:plug}
""",
    "iot_wemo_on": """
[turn on|switch on|enable|activate|power on|start|engage] [the|my|this|] {device_type:plug}
[turn|switch] [the|my|this|] {device_type:plug} on
[turn on|switch on|enable|activate] [the|my] {device_type:plug} in [the|my] {house_place}
[turn|switch] the {device_type:plug} in [the|my] {house_place} on
[turn on|switch on|enable] [the|my] {house_place} {device_type:plug}
[turn|switch] [the|my] {house_place} {device_type:plug} on
{device_type:plug} on [please|now|]
[turn on|switch on|start] [the|my] {device_type:appliance}
[turn|switch] [the|my] {device_type:appliance} on
[turn on|switch on|start] the {device_type:appliance} in the {house_place}
[set|put|keep] [the|my] {device_type:plug} [to on|on|in on mode]
~i [want|need|would like] [the|my] {device_type:plug} [on|turned on|enabled|to be on]
~i [want|need|would like] [the|my] {device_type:appliance} [on|turned on|to be on]
~can the {device_type:plug} be [turned|switched] on
[give|send] power to the {device_type:plug}
[turn on|switch on] the {device_type:plug} [at|after] {time}
[make sure|see that] the {device_type:plug} is [on|turned on]
[power up|plug in] the {device_type:plug}
*[get|have] the {device_type:plug} turned on
*[get|have] the {device_type:plug} in the {house_place} turned on
*~the {device_type:plug} should be on
*~i need the {device_type:appliance} turn it on
*[please|] some power for the {device_type:plug}
""",
    "audio_volume_mute": """
[mute|silence] [the|my|] [volume|sound|speaker|speakers|audio|music]
[mute|silence] [yourself|it|everything|now|please]
mute [for|until|till] {time:duration}
[mute|silence] [yourself|the volume|the speakers|the sound] [for|until] {time:duration}
[turn off|switch off|shut off|cut] [the|my|] [sound|volume|speaker|speakers|audio]
[turn|switch] [the|] [sound|volume|speakers|audio] off
[turn off|cut] the sound [for|until] {time:duration}
[sound|volume|speakers|speaker|audio] off [please|]
[mute|silence] [the|my] {device_type:player}
[set|put] [the|] [volume|speakers|sound|yourself] [to|on] [mute|silent]
[set|put] the {device_type:player} [to|on] [mute|silent]
[be|keep|stay|remain] [quiet|silent] [please|now|]
[be|keep|stay] [quiet|silent] [for|until] {time:duration}
[stop|quit] [talking|speaking|making noise|making sounds|the noise] [please|]
[stop|quit] [talking|speaking] [for|until] {time:duration}
[don't|do not] [talk|speak|make a sound|say anything] [please|]
[don't|do not] [talk|speak|make a sound] [for|until] {time:duration}
[shut up|hush|quiet|silence] [please|now|]
~i [need|want] [silence|some quiet|you to be quiet|you to shut up|no sound]
~i [don't|do not] want [sound|any sound|to hear you|any noise]
[no] [sound|talking|noise|speaking] [please|]
[go] [silent|mute|quiet]
[put|set] [it|everything] on mute
~[quiet|silent] time
*[please|] no more [talking|sound|noise]
*~you should be [quiet|silent] [now|]
*[turn|switch] yourself to [mute|silent]
*[have|keep] the [volume|sound] off [for|until] {time:duration}
*~i want it [quiet|silent] [for|until] {time:duration}
""",
    "audio_volume_up": """
[turn up|raise|increase|boost|up] [the|your|my|] [volume|sound|speaker volume|music|speakers|audio]
[turn up|raise|increase] [the|your|] [volume|sound|music] {change_amount:higher}
[turn|bring|put] [the|] [volume|sound|music|speakers] [up|higher|louder]
[turn|bring] [the|] [volume|sound|music] up {change_amount:higher}
[set|put|turn] the [volume|sound] {change_amount:louder}
[make|get] [the|] [volume|music|sound|it|speakers] [louder|higher|up]
[make] [the|] [volume|music|sound|it] {change_amount:bit} louder
[turn it up|turn up|louder|volume up|pump it up|sound up] [please|]
[turn it up|turn up] {change_amount:bit}
[speak|talk] [up|louder|more loudly] [please|]
[speak|talk] {change_amount:bit} louder
~i [can't|can not|cannot] hear [you|it|the music|anything|a thing]
~[you are|you're|the music is|it is|that is] too [quiet|low|soft]
~i [want|need|would like] [the volume|the music|it|you] [louder|to be louder|higher]
~can [i|we] have [the volume|it|the music] [louder|higher|up]
[volume|sound|music] [louder|higher|up] [please|]
[increase|raise|turn up] [the|] volume [on|of] [the|my] {device_type:player}
[turn up|increase] [the|my] {device_type:player}
[turn up|increase|raise] the volume for [this song|the music|me]
[more|higher] volume [please|]
[give me] [more|higher] volume
*[could you|] get the [music|sound] up [a bit more|some more]
*~the [music|sound|volume] is not loud enough
*[turn|bring] [your|the] speaker up {change_amount:higher}
*~i want this song [louder|to be louder]
*[give] the {device_type:player} more volume
""",
    "audio_volume_down": """
[turn down|lower|reduce|decrease|cut down|bring down] [the|your|my|] [volume|sound|speaker volume|music|speakers|audio]
[turn down|lower|reduce|decrease] [the|your|] [volume|sound|music] {change_amount:lower}
[turn|bring|put] [the|] [volume|sound|music|speakers] [down|lower]
[turn|bring] [the|] [volume|sound|music] down {change_amount:lower}
[set|put|turn] the [volume|sound] {change_amount:quieter}
[make|get] [the|] [volume|music|sound|it|speakers] [quieter|lower|softer|less loud]
[make] [the|] [volume|music|sound|it] {change_amount:bit} [quieter|softer|lower]
[turn it down|turn down|quieter|volume down|sound down] [please|]
[turn it down|turn down] {change_amount:bit}
[speak|talk] [quieter|softer|more quietly|lower|more softly] [please|]
[speak|talk] {change_amount:bit} [quieter|softer]
~[you are|you're|the music is|it is|that is|it's] too loud
~i [want|need|would like] [the volume|the music|it|you] [quieter|to be quieter|lower|softer]
~can [i|we] have [the volume|it|the music] [quieter|lower|down]
[volume|sound|music] [quieter|lower|down] [please|]
[decrease|lower|turn down|reduce] [the|] volume [on|of] [the|my] {device_type:player}
[turn down|lower] [the|my] {device_type:player}
[less|lower] volume [please|]
[give me] [less|lower] volume
[don't|do not] be so loud
*[could you|] get the [music|sound] down [a bit more|some more]
*~the [volume|sound] is too [high|loud] [for me|]
*[turn|bring] [your|the] speaker down {change_amount:lower}
*~i want this song [quieter|to be quieter]
*[give] the {device_type:player} less volume
""",
    "alarm_query": """
[show|list|check|tell me|give me|read|display|review] [me|] [my|the|all my|all the] alarms
[show|list|check|tell me|read] [my|the|all my] alarms [for|set for|on] {date}
[show|check|tell me] my alarms [for|set for] {date} {timeofday}
[show|check|tell me] [my|the] alarms for the {timeofday}
[show|check|confirm|tell me about] [my|the] {time} alarm
~what alarms [do i have|have i set|are set|are on|are active|did i set] [please|]
~what alarms [do i have|have i set|are set|did i set] for {date}
~what alarms [do i have|have i set|are set] for {date} {timeofday}
~[what time|when] [is|was] [my|the] alarm [set|set for|going to ring|on|]
~[what time|when] is [my|the] alarm [set|set for|] {date}
~[what time|when] [will|does] my alarm [ring|go off|wake me up]
~[what time|when] [will|does] my alarm [ring|go off|wake me up] {date}
~[what time|when] is my {alarm_type} alarm [set|set for|]
~[do i have|is there|did i set] [an alarm|any alarms|any alarm|alarms] [set|]
~[do i have|is there|did i set|did you set] [an alarm|any alarms|an alarm set] for {date}
~[do i have|is there|did i set|did you set] [an alarm|any alarm] [for|at|set for] {time}
~is [my|the|an|there an] alarm [set|on|set up|active]
~is [my|the|an] alarm set for {date}
~is [my|the|an] alarm set for {time}
~is [my|the] alarm set for {date} {timeofday}
~is [my|the] alarm set for the {timeofday}
~[have|did] [i|you] set [my|the|an] alarm [already|yet|]
~[how many] alarms [do i have|are set|have i set]
[let me see|bring up|open|pull up] [my|the] alarms
[tell me|check] [when|what time] my alarm is [set|set for|]
[tell me|check] if [my alarm|the alarm|an alarm] is [set|on]
[tell me|check] if [my alarm|there is an alarm set] for {date}
[my|all] alarms [please|]
~at what time [will i be woken up|are you waking me up|do i get up] {date}
[check|confirm] [the|my] alarm [time|settings|status]
*~which alarms [are on|do i have|are set] [now|]
*~which alarms [are on|do i have] for {date}
*~could you tell me [about|] my alarms [please|]
*[look at|read out] my alarms for {date}
*~will my alarm [ring|go off] at {time}
*~will my {alarm_type} alarm [ring|go off] {date}
""",
    "alarm_remove": """
[cancel|delete|remove|turn off|disable|clear|stop|erase] [my|the|this|that|] alarm
[cancel|delete|remove|turn off|disable|clear|erase] [all|all my|all of my|my|the|all the] alarms
[cancel|delete|remove|turn off|disable] [my|the] {time} alarm
[cancel|delete|remove|turn off|disable] [my|the] alarm [for|at|set for|of] {time}
[cancel|delete|remove|turn off|disable] [my|the] alarm [for|set for|on] {date}
[cancel|delete|remove|turn off|disable] [my|the|all] alarms [for|set for|on] {date}
[cancel|delete|remove|turn off] [my|the] alarm [for|at] {time} [on|] {date}
[cancel|delete|remove|turn off] [my|the] {date} alarm
[cancel|delete|remove|turn off] [my|the] {date} {timeofday} alarm
[cancel|delete|remove|turn off] [my|the] alarm for {date} {timeofday}
[cancel|delete|remove|turn off] [my|the] {timeofday} alarm
[cancel|delete|remove|turn off] [my|the] {alarm_type} alarm
[cancel|delete|remove] [my|the] {event_name} alarm
[cancel|delete|remove] the alarm for [my|the] {event_name}
[turn|switch] [my|the] alarm off
[turn|switch] [my|the] {time} alarm off
[get rid of|take off] [my|the|all my] [alarm|alarms]
[get rid of|take off] the {time} alarm
[don't|do not] wake me [up|]
[don't|do not] wake me [up|] {date}
[don't|do not] wake me [up|] at {time}
[stop] the alarm [now|please|]
~i [don't|do not] need [the|an|my|that] alarm [anymore|any more|]
~i [don't|do not] need [the|an|my] alarm [for|on] {date}
~i [don't|do not] need [the|my] {time} alarm [anymore|]
~i [want|would like|need] to [cancel|delete|remove] [my|the|an] alarm
~i [want|would like] to [cancel|delete|remove] my {time} alarm
*[please|] no alarm [for me|] {date}
*[take|turn] the {time} alarm off [my list|please]
*~my alarm for {date} can be [deleted|removed|cancelled]
*~you do not need to wake me [up|] {date}
*[have|get] the {alarm_type} alarm [deleted|removed]
*~i want the {time} alarm [removed|deleted|off]
""",
    "alarm_set": """
[set|create|make|add|start|put] [an|the|my|a new] alarm [for|at] {time}
[set|create|make|add] [an|the|my|a] alarm [for|at] {time} {date}
[set|create|make|add] [an|the|my] alarm for {date} at {time}
[set|create|make|add] [an|the|my] alarm {date} [at|for] {time}
[set|create|make] [an|my|the] alarm [for|] {date}
[set|create|make] an alarm for {date} {timeofday}
[set|create|make] an alarm for {time} in the {timeofday}
[set|create|make] an alarm for {date} {timeofday} at {time}
[set|create|make|add] [an|a new|my|the] alarm [please|for me|]
[set|create|make] an alarm [for|in] {time:in_time} [from now|]
[wake me up|get me up|wake me] at {time}
[wake me up|get me up|wake me] {date} at {time}
[wake me up|get me up|wake me] at {time} {date}
[wake me up|get me up] at {time} in the {timeofday}
[wake me up|get me up] in {time:in_time}
[wake me up|wake me] {date} {timeofday}
[set|create] [a|an|my] {alarm_type} alarm [for|at] {time}
[set|create] [a|an|my] {alarm_type} alarm
[set|create] an alarm for [my|the] {event_name} at {time}
[set|create] an alarm for [my|the] {event_name}
[set|create] an alarm for [my|the] {event_name} {date}
[set|create] an alarm [for|at] {time} {general_frequency}
[set|create] [a|an] {general_frequency} alarm [for|at] {time}
[alarm|alarms] [for|at] {time}
[alarm] {date} at {time}
~i [need|want|have] to [wake up|get up|be up] at {time}
~i [need|want|have] to [wake up|get up|be up] at {time} {date}
~i [need|want|would like] an alarm [for|at] {time}
~i [need|want|would like] an alarm {date} at {time}
[set|turn on] [the|my] alarm [to|on] {time}
[schedule|program] an alarm [for|at] {time}
*[please|] an alarm for {time} [please|]
*[have|get] my alarm [set|on] for {time} {date}
*~i want you to wake me at {time}
*~could you have an alarm ring at {time} {date}
*~{date} i need to get up at {time}
*[make sure] i wake up at {time} {date}
*[put] an alarm on {date} for [my|the] {event_name}
""",
    "lists_createoradd": """
[create|make|start|begin|open] [a|a new|another|] list [please|for me|]
[create|make|start|begin] [a|a new|another|my] {list_name} list
[create|make|start] [a|a new] list [called|named|for|of] {list_name}
[create|make|start] [a|a new] list [for|of] {date}
[create|make|start] [a|a new] {list_name} list for {date}
[add|put|include|insert] {item} [to|on|onto|in] [my|the] {list_name} list
[add|put|include|write|insert] {item} [to|on|onto|in] [my|the|a] list
[add|put] {item} and {item} [to|on] [my|the] {list_name} list
[add|put] {item} and {item} [to|on] [my|the] list
[add|include] [an item|a new item|this|that|this item|something] to [my|the] list
[add|include] [an item|a new item|this|that|something] to [my|the] {list_name} list
[add|put] {item} [to|on] [my|the] list of {list_name}
[add|put] {item} [to|on] [my|the] list for {date}
[add|put] {person} to my {list_name} list
~i [need|want|would like] [a|a new] list
~i [need|want|would like] [a|a new] {list_name} list
~i [need|want] to [add|put] {item} [to|on] my {list_name} list
~i [need|want] to [create|make|start] [a|a new] list
~i [need|want] to [create|make|start] a {list_name} list
~i need to buy {item} [add it to|put it on] [the|my] {list_name} list
on [my|the] {list_name} list [add|put] {item}
to [my|the] {list_name} list add {item}
[new] list [please|]
[new] {list_name} list
[remember|note] {item} [on|in|for] my {list_name} list
[save|write down] {item} [on|in] my list
*[please|] a new {list_name} list
*[have|get] {item} [put|added] on my {list_name} list
*~my {list_name} list needs {item} [on it|]
*[start|make] me a list [called|named] {list_name}
*~{item} should go on the {list_name} list
*~i want to put {item} on [my|a] list
""",
    "lists_query": """
[show|read|tell|give] me [my|the|all my] [list|lists]
[show|read|tell|give] me [my|the] {list_name} list
[read|check|open|display|show|review] [my|the] [list|lists] [please|to me|]
[read|check|open|display|show|review] [my|the] {list_name} list
[read|check|tell me] [what is|what's] on [my|the] list
[read|check|tell me] [what is|what's] on [my|the] {list_name} list
~[what's|what is|what are] [on|in] [my|the|this] list
~[what's|what is] [on|in] [my|the] {list_name} list
~[what's|what is] on [my|the] {list_name} list for {date}
~[what's|what is] on [my|the] list for {date}
~[what|which] lists [do i have|are there|have i made|do you have]
~[what|which] items are on [my|the] {list_name} list
~[what|which] items are [on|in] [my|the] list
~[do i have|is there] {item} on [my|the] {list_name} list
~[do i have|is there] [a|any] list [for|of] {list_name}
~[do i have|is there] [a|any] {list_name} list
~[is|did i put] {item} on [my|the] list
~[how many] lists do i have
~[how many] items are on my {list_name} list
[give me|tell me] the [items|things|contents] [on|of|in] [my|the] list
[give me|tell me] the [items|things|contents] [on|of|in] [my|the] {list_name} list
[pull up|bring up|find|get|go to] [my|the] list
[pull up|bring up|find|get|go to] [my|the] {list_name} list
[show|tell] me my list for {date}
[list|name] [all my lists|my lists|the available lists|all lists]
[let me see|let me hear] my {list_name} list
[let me see|let me hear] my [list|lists]
*[please|] tell me my {list_name} list
*~what did i put on my {list_name} list
*~what did i put on [the|my] list
*~is there anything on my {list_name} list
*~what is there on my list for {date}
*[look at|go over] [my|the] {list_name} list
""",
    "lists_remove": """
[delete|remove|erase|cancel|clear|get rid of|discard] [my|the|this|that|a] list
[delete|remove|erase|cancel|clear|get rid of|discard] [my|the|this] {list_name} list
[delete|remove|erase|take] {item} [from|off] [my|the] {list_name} list
[delete|remove|erase|take] {item} [from|off] [my|the] list
[delete|remove|erase|clear] [all|all my|all the|my] lists
[delete|remove|erase] [the last|the first|this|that|an] item [from|on] [my|the] list
[delete|remove|erase] [the last|the first|this|an] item [from|on] [my|the] {list_name} list
[delete|remove|erase] [the last item|this item|that item|an item|this]
[delete|remove|clear] [everything|all items] [from|on] [my|the] list
[delete|remove|clear] [everything|all items] [from|on] [my|the] {list_name} list
[delete|remove|erase] the list [called|named|of|for] {list_name}
[delete|remove|erase] [my|the] list [for|of] {date}
[take off|cross off|scratch] {item} [from|on] [my|the] list
[take off|cross off|scratch] {item} [from|on] [my|the] {list_name} list
[take|cross] {item} off [my|the] list
[take|cross] {item} off [my|the] {list_name} list
[remove|delete] {person} from my {list_name} list
[empty|clear out|wipe] [my|the] list
[empty|clear out|wipe] [my|the] {list_name} list
~i [don't|do not] need {item} [anymore|on my list|any more]
~i [don't|do not] need [the|my|this] list [anymore|any more|]
~i [don't|do not] need [the|my] {list_name} list [anymore|any more|]
~i [want|need] to [delete|remove] [a|my|the] list
~i [want|need] to [delete|remove] my {list_name} list
~i [want|need] to [delete|remove] {item} from my {list_name} list
from [my|the] {list_name} list [remove|delete] {item}
*[have|get] {item} [taken|removed] off my {list_name} list
*[have|get] {item} removed from [my|the] list
*~{item} can go off the {list_name} list
*~my {list_name} list can be [deleted|removed|cleared]
*~i want my {list_name} list [deleted|removed|cleared]
""",
    "weather_query": """
~[what's|what is|how is|how's] the weather [like|] [please|]
~[what's|what is|how is|how's] the weather [like|] {date}
~[what's|what is|how is|how's] the weather [like|] in {place_name}
~[what's|what is|how is|how's] the weather [like|] in {place_name} {date}
~[what's|what is|how is] the weather {date} in {place_name}
~[what's|what is|how is] the weather [like|] {timeofday:day_part}
~[what's|what is] the weather [like|] {date} {timeofday}
~[what's|what is] the [forecast|weather forecast] [for|] {date}
~[what's|what is] the [forecast|weather forecast] [for|in] {place_name}
~[what's|what is] the {weather_descriptor:measure} [outside|right now|]
~[what's|what is] the {weather_descriptor:measure} {date}
~[what's|what is] the {weather_descriptor:measure} in {place_name}
~[what's|what is] the {weather_descriptor:measure} in {place_name} {date}
~[will it|is it going to] {weather_descriptor:falls} {date}
~[will it|is it going to] {weather_descriptor:falls} in {place_name}
~[will it|is it going to] {weather_descriptor:falls} in {place_name} {date}
~[will it|is it going to] be {weather_descriptor:sky} {date}
~[will it|is it going to] be {weather_descriptor:sky} in {place_name}
~is it {weather_descriptor:sky} [outside|out|right now|]
~is it {weather_descriptor:sky} in {place_name}
~is it {weather_descriptor:sky} {date}
~will there be {weather_descriptor:falls} {date}
~is there [going to be|] {weather_descriptor:falls} {date}
~is there a chance of {weather_descriptor:falls} {date}
~[do i need|should i take|should i bring|will i need] [a|an|my] {weather_descriptor:gear} {date}
~[do i need|should i take|should i bring|will i need] [a|an|my] {weather_descriptor:gear} [outside|]
[tell me|show me|give me|check] the [weather|forecast]
[tell me|show me|give me|check] the [weather|forecast] [for|] {date}
[tell me|show me|give me|check] the [weather|forecast] [in|for] {place_name}
[tell me|show me|give me|check] the {weather_descriptor:measure} in {place_name}
[tell me|check] if it [will|is going to] {weather_descriptor:falls} {date}
weather {date}
weather in {place_name}
[current|today] weather [please|report]
~how {weather_descriptor:sky} [is it|will it be] {date}
~how {weather_descriptor:sky} is it in {place_name}
~is {date} going to be {weather_descriptor:sky}
~[what's|what is] it like outside
*~what weather will [we have|there be] {date}
*~what weather do they have in {place_name}
*~will i need [a|an|my] {weather_descriptor:gear} {date}
*~does it {weather_descriptor:falls} {date}
*~is there any {weather_descriptor:falls} in {place_name}
*[let me know] the weather [for|] {date}
*~how is it outside in {place_name} {date}
""",
    "datetime_query": """
~[what's|what is] the time [now|right now|please|]
~what time is it [now|right now|please|]
~what time is it in {place_name} [now|right now|]
~[what's|what is] the [time|current time|local time] in {place_name}
~[what's|what is] the [date|day] [today|today|]
~[what's|what is] {date} date
~[what's|what is] the date {date}
~what [day|date] is {date}
~what [day|date] is it {date}
~what [day|date] is it [now|please|]
~what day [of the week|] is {date:month_day}
~what day [of the week|] does {event_name:holiday} fall on
~what [day|date] is {event_name:holiday} [this year|]
~when is {event_name:holiday} [this year|]
~what time is it in {time_zone} time
~[what's|what is] the [time|current time] in {time_zone} time
~[what's|what is] {time_zone} time [now|right now|]
[tell me|give me|show me|check] the [time|current time|date|time please]
[tell me|give me|show me] the [time|current time] in {place_name}
[tell me|give me|show me] the [time|current time] in {time_zone} time
[tell me|give me] [today's|the] date
[tell me|give me] the date [for|of] {date}
[tell me] what [day|date] {date} is
[tell me] what [time it is|day it is|the time is|the date is]
[tell me] what time it is in {place_name}
[current|the] [time|date] [please|now]
[current|] time in {place_name}
~[do you|] know [what time it is|the time|the date]
~do you know what time it is in {place_name}
~how late is it [now|]
~how late is it in {place_name}
~what [month|year] is it
*~could you tell me the time in {place_name} [now|]
*~which day [is it|do we have] [today|]
*~which day of the week is {date:month_day}
*~what is the clock time in {place_name}
*[let me know] the [time|date] [please|]
*~how late is it now in {place_name}
*~on what day is {event_name:holiday}
""",
    "play_music": """
play [some|the|] [music|songs|tunes|a song]
play [some|the|] {music_genre} [music|songs|]
play [some|a] {music_genre} [song|music]
play [some|the|songs by|music by|something by|a song by|songs from] {artist_name}
play {artist_name} [songs|music]
play [the song|the track|] {song_name}
play [the song|] {song_name} by {artist_name}
play {artist_name} {song_name:title_only}
play [my|the] {playlist_name} playlist
play [my|the] playlist [called|named] {playlist_name}
play [songs|music] from my {playlist_name} playlist
play [my|some of my|the] {music_descriptor} [music|songs]
play [some|] {music_descriptor} {music_genre} [music|songs]
play [my] [playlist|music|favorites playlist]
play [the next|another|a random|the last] [song|track]
[start|begin|put on|turn on] [the|my|some|] [music|songs|a song]
[start|begin|put on|turn on|start playing] [some|] {music_genre} [music|]
[put on|start playing|start] {artist_name}
[put on|start playing|start] {song_name} by {artist_name}
[put on|start playing|start] my {playlist_name} playlist
[shuffle|start|open] [my|the] {playlist_name} playlist
[play|start|turn on] [my|the] music [on|from] {app_name}
[play|start] {artist_name} on {app_name}
[play|start] {song_name} on {app_name}
~i [want|would like|'d like|need] to [hear|listen to] [some|] music
~i [want|would like] to [hear|listen to] {artist_name}
~i [want|would like] to [hear|listen to] [some|] {music_genre} [music|]
~i [want|would like] to [hear|listen to] {song_name} [by|from] {artist_name}
~i [want|would like] to [hear|listen to] the song {song_name}
~can i hear [some|] {music_genre} [music|songs|]
~can i hear {song_name} by {artist_name}
~let me hear [some|] {artist_name}
~let me hear [some|] {music_genre}
*~could i listen to [some|] {music_genre} [music|]
*~could you play {song_name} by {artist_name}
*~i feel like [some|] {artist_name}
*[have|get] some {music_genre} music playing
*[find and play|find me] {song_name} by {artist_name}
*~let us [hear|listen to] my {playlist_name} playlist
""",
}

# Values per slot, or per kind where one slot means different things to different intents.
VALUES: dict[str, str] = {
    "cleaner": "vacuum, vacuum cleaner, robot vacuum, robot vacuum cleaner, roomba, robot, hoover, cleaner, "
    "cleaning robot, robot cleaner, robot mop, vacuum robot, cleaning bot, floor robot, carpet cleaner, "
    "dust cleaner, mop, floor cleaner, sweeper, robot sweeper, vac, smart vacuum",
    "house_place": "living room, room, bedroom, house, kitchen, bathroom, hall, hallway, garage, home, office, "
    "dining room, attic, basement, study, guest room, kids room, nursery, garden, porch, balcony, corridor, den, "
    "pantry, laundry room, stairs, upstairs, downstairs, master bedroom, lounge, closet, cellar, back yard, "
    "front yard, toilet, apartment, workshop, patio, entrance, library, floor, family room, tv room, gym, "
    "play room, sun room, bed room, driveway, shed, washroom, guest bedroom, game room, main hall, loft, terrace",
    "coffee_type": "cappuccino, espresso, latte, black coffee, americano, macchiato, mocha, flat white, decaf, "
    "double espresso, iced coffee, cold brew, filter coffee, cortado, long black, ristretto, vanilla latte, "
    "iced latte, caramel macchiato, lungo, irish coffee, small latte, large cappuccino, doppio, cafe au lait, "
    "turkish coffee, hazelnut latte",
    "coffee_adjective": "strong, hot, black, weak, fresh, iced, cold, sweet, decaf, mild, large, nice, filter, "
    "creamy, dark roast, sugar free, instant, extra strong, milky, light",
    "coffee_maker": "coffee machine, coffee maker, espresso machine, coffee pot, machine, coffeemaker, brewer, "
    "percolator, coffee brewer, smart coffee machine, coffee device, kitchen coffee machine",
    "color_type": "blue, red, green, yellow, orange, pink, white, purple, warm white, dark blue, light blue, "
    "violet, turquoise, teal, gold, silver, magenta, cyan, brown, lavender, bright red, deep purple, soft pink, "
    "cool white, lime, peach, navy, amber, indigo, romantic, warm, dark green, light green, pale yellow, "
    "crimson, aqua, mint, ivory, rose, scarlet, cream, coral",
    "lamp": "lamp, bedside lamp, table lamp, desk lamp, floor lamp, night light, reading lamp, ceiling lamp, "
    "hall lamp, standing lamp, corner lamp, wall lamp, ceiling light, bedside light",
    "plug": "plug, socket, smart plug, wemo, wemo plug, smart socket, wemo socket, wemo plug socket, "
    "smart plug socket, outlet, power outlet, smart outlet, power socket, wall socket, plug socket, wifi plug, "
    "wemo switch, smart switch, extension, power plug, wall plug, wemo outlet, electric socket, power strip",
    "appliance": "tv, heater, fan, radio, oven, washing machine, dishwasher, computer, kettle, toaster, "
    "air conditioner, dryer, printer, humidifier, stove, geyser, television, microwave, ac, water heater, iron, "
    "charger, electric blanket, air purifier",
    "player": "music player, tv, radio, stereo, speaker system, music system, sound system, home theater, "
    "bluetooth speaker, soundbar, television, media player, mp3 player, echo, sonos, headphones, laptop, hi fi",
    "lower": "a bit, a little, slightly, a lot, by ten percent, by twenty percent, by thirty percent, by half, "
    "to half, to ten percent, to twenty percent, to thirty percent, to forty percent, to fifty percent, "
    "to the lowest, to minimum, to ten, to five, to low, to three, by five, by ten, to twenty, a little more, "
    "a little bit, some more, to one, to two, by a third, by forty percent, to fifteen percent, to the minimum, "
    "to twenty five percent, a tad",
    "higher": "a bit, a little, slightly, a lot, by ten percent, by twenty percent, by thirty percent, by half, "
    "to ninety percent, to max, to eighty percent, to seventy percent, to one hundred percent, to the highest, "
    "to maximum, to full, to ten, to nine, to ninety, by five, by ten, to eight, a little more, a little bit, "
    "some more, to full power, to sixty percent, to seven, to one hundred, by forty percent, to the max, "
    "to eighty five percent, a tad, to high",
    "louder": "to max, to maximum, to the highest, to full, to ninety, to eighty percent, to ninety percent, "
    "to high, to nine, to one hundred percent, to the max, to seventy percent, to eighty, to the loudest, "
    "to full volume",
    "quieter": "to low, to minimum, to the lowest, to ten percent, to twenty percent, to five, to ten, to three, "
    "to one, to half, to the minimum, to thirty percent, to the quietest, to two, to low volume",
    "bit": "a bit, a little, a little bit, slightly, a lot, much, a tad",
    "duration": "five minutes, ten minutes, two hours, one hour, an hour, thirty minutes, half an hour, five pm, "
    "six am, noon, nine pm, tomorrow, three hours, twenty minutes, eight am, four pm, fifteen minutes, seven pm, "
    "ten pm, a minute, a while, forty minutes, five am, three pm, one minute, four hours",
    "in_time": "two hours, one hour, an hour, thirty minutes, ten minutes, half an hour, five minutes, "
    "twenty minutes, three hours, fifteen minutes, forty five minutes, six hours, eight hours, five hours, "
    "an hour and a half, ninety minutes",
    "date": "today, tomorrow, this week, monday, tuesday, wednesday, thursday, friday, saturday, sunday, "
    "next week, this weekend, the weekend, next monday, next friday, tonight, this saturday, "
    "the day after tomorrow, next tuesday, this month, this sunday, next saturday, next month, next sunday, "
    "this friday, this thursday, next thursday, next wednesday, this monday, next weekend",
    "month_day": "first april, december twenty fifth, the fifth of may, march third, the tenth of june, "
    "july fourth, the first of january, october ninth, the twenty second, may eleventh, the third of august, "
    "november second, june fifteenth, the last of february, september first, the thirteenth, april twentieth, "
    "the eighth of october, the thirtieth, january sixth",
    "timeofday": "morning, evening, afternoon, night, noon",
    "day_part": "this morning, this evening, this afternoon, tonight",
    "alarm_type": "wake up, morning, work, school, gym, bedtime, weekend, weekday, soccer practice, first, "
    "second, nap, workout, medicine, yoga, early, lunch, running, backup, kitchen",
    "general_frequency": "daily, every day, every morning, every monday, every week, weekly, everyday, "
    "every weekday, every night, every friday, every other day, every weekend",
    "event_name": "meeting, party, concert, flight, dentist appointment, soccer practice, dance class, wedding, "
    "interview, class, train, doctor appointment, birthday, game, lunch, dinner, school, piano lesson, exam, "
    "conference, appointment, workout, job interview, movie, bus, conference call, yoga class, football match, "
    "swimming lesson, team meeting",
    "holiday": "christmas, easter, thanksgiving, halloween, new year, mother's day, labor day, valentine's day, "
    "father's day, independence day, memorial day, christmas eve, ramadan, diwali, good friday, boxing day, "
    "hanukkah, new year's eve",
    "list_name": "shopping, grocery, to do, groceries, wish, packing, chores, work, todo, birthday, christmas, "
    "reading, gift, movie, travel, task, party, school supplies, books, cleaning, guest, hardware, camping, "
    "contact, daily, holiday, errands, shopping for the party, wedding, favorites, meal, recipe, bucket, home, "
    "vacation, kitchen, garden, pharmacy, office, projects, weekend, baby, wine, homework, exercise, repairs",
    "item": "milk, eggs, bread, butter, sugar, apples, bananas, cheese, coffee, tea, rice, pasta, chicken, "
    "tomatoes, onions, soap, shampoo, toilet paper, oranges, potatoes, carrots, fish, olive oil, flour, salt, "
    "water, juice, cereal, yogurt, paper towels, batteries, toothpaste, dog food, lettuce, chocolate, cookies, "
    "ice cream, beef, honey, garlic, pepper, beans, soda, beer, wine, call mom, laundry, pay rent, shoes, "
    "a new phone, socks, light bulbs, grapes, chips, cat food, napkins, cream, mushrooms, ham, peanut butter, "
    "pencils, a birthday card, sweet potatoes, baby wipes, nails, paint, spinach, lemons, vinegar, candles",
    "person": "john, mary, bob, sarah, mike, anna, david, emma, mark, lisa, tom, greg, gloria, peter, jane, "
    "ashley, eric, nina",
    "place_name": "new york, london, paris, china, tokyo, chicago, boston, miami, seattle, denver, california, "
    "texas, berlin, rome, madrid, india, australia, canada, los angeles, san francisco, sydney, toronto, dubai, "
    "moscow, beijing, singapore, houston, dallas, florida, mexico, spain, italy, germany, france, japan, "
    "new york city, washington, atlanta, phoenix, las vegas, hong kong, delhi, mumbai, bangalore, amsterdam, "
    "dublin, egypt, brazil, england, ireland, portland, san diego, philadelphia, detroit, hawaii, alaska, "
    "vienna, lisbon, athens, cairo, oslo, stockholm, prague, budapest, warsaw, istanbul, seoul, bangkok, manila, "
    "jakarta, nairobi, lagos, buenos aires, lima, bogota, montreal, vancouver, manchester, glasgow, liverpool, "
    "orlando, austin, nashville, new orleans, salt lake city, cleveland, minneapolis, ohio, michigan, my city, "
    "my area, this city, dallas texas, paris france, london england, santa fe, pittsburgh",
    "measure": "temperature, humidity, temp, high temperature, low temperature, wind speed, current temperature, "
    "highest temperature, uv index, average temperature, air quality, chance of rain",
    "falls": "rain, snow, storm, hail, thunderstorm, showers, thunder, drizzle, heavy rain, sleet, fog, freeze",
    "sky": "sunny, cold, hot, cloudy, raining, snowing, warm, windy, nice, humid, rainy, foggy, stormy, chilly, "
    "freezing, cool, clear, wet, dry, icy, pleasant, snowy, muggy, bad",
    "gear": "umbrella, jacket, coat, sweater, hat, raincoat, scarf, sunscreen, warm coat, rain jacket, boots, "
    "gloves, sunglasses, hoodie",
    "time_zone": "eastern, pacific, central, mountain, east coast, west coast, eastern standard, "
    "pacific standard, greenwich mean, central standard, mountain standard, indian standard, british summer, "
    "central european",
    "music_genre": "jazz, pop, country, classical, rap, folk, rock, hip hop, soul, blues, reggae, metal, punk, "
    "disco, techno, electronic, soft rock, indie, indie rock, r and b, latin, salsa, gospel, opera, funk, "
    "heavy metal, house, country rock, christian rock, swing, bluegrass, ambient, nineties, eighties, dance, "
    "trance, k pop, grunge, ska, old school rap, seventies",
    "artist_name": "the beatles, adele, michael jackson, queen, prince, madonna, drake, eminem, coldplay, "
    "rihanna, beyonce, elvis, bob dylan, taylor swift, ed sheeran, bruno mars, u two, metallica, nirvana, "
    "pink floyd, abba, shakira, katy perry, mozart, bach, chopin, beethoven, johnny cash, elton john, "
    "david bowie, lady gaga, justin bieber, ariana grande, maroon five, green day, linkin park, bob marley, "
    "frank sinatra, stevie wonder, whitney houston, the rolling stones, led zeppelin, fleetwood mac, radiohead, "
    "oasis, celine dion, mariah carey, dolly parton, tina turner, kanye west, jay z, snoop dogg, kendrick lamar, "
    "billy joel, bon jovi, aerosmith, the doors, the eagles, santana, sting, phil collins, george michael, "
    "norah jones, john legend, sam smith, lorde, sia, daft punk, gorillaz, blur, the cure, depeche mode, "
    "duran duran, kenny rogers, willie nelson, shania twain, miles davis, louis armstrong, ella fitzgerald, "
    "vivaldi, selena gomez, black sabbath",
    "song_name": "hello, imagine, yesterday, thriller, bohemian rhapsody, hey jude, billie jean, purple rain, "
    "shape of you, rolling in the deep, let it be, hotel california, stairway to heaven, sweet home alabama, "
    "smooth criminal, happy, firework, roar, halo, umbrella, poker face, bad romance, wonderwall, yellow, "
    "clocks, fix you, one love, no woman no cry, my way, dancing queen, like a virgin, vogue, lose yourself, "
    "stan, crazy in love, single ladies, uptown funk, grenade, dreams, landslide, africa, take on me, "
    "wake me up, firestarter, satisfaction, paint it black, ring of fire, hurt, jolene, i will survive, "
    "we will rock you, under pressure, space oddity, heroes, closer, stay, diamonds, work, titanium, levels, "
    "moonlight sonata, fur elise, the four seasons, summer of sixty nine, livin on a prayer, "
    "sweet child of mine, nothing else matters, enter sandman, smells like teen spirit, come as you are, creep, "
    "karma police, beat it, bad, man in the mirror",
    "title_only": "hello, imagine, yesterday, thriller, hey jude, let it be, halo, fix you, my way, vogue, "
    "dreams, jolene, heroes",
    "playlist_name": "workout, party, morning, running, chill, road trip, happy, sleep, dinner, favorite, study, "
    "summer, relaxing, gym, sad songs, wedding, cooking, work, driving, oldies, dance, holiday, weekend, "
    "evening, motivation, date night, rock classics, top forty, focus, cleaning, slow jams, lounge, beach, "
    "training, rainy day, kids, yoga",
    "music_descriptor": "favorite, new, popular, upbeat, sad, slow, relaxing, old, happy, romantic, top rated, "
    "calm, loud, latest, soft, christmas, liked, quiet, energetic, classic, downloaded, best, soothing",
    "app_name": "spotify, pandora, youtube, google play, amazon music, apple music, deezer, tidal, sound cloud, "
    "i tunes",
}

# What the rationale calls an intent, and the intents that it is easily mistaken for.
GLOSS: dict[str, tuple[str, str, str]] = {
    "iot_cleaning": ("clean", "iot_coffee", "iot_wemo_on"),
    "iot_coffee": ("coffee", "iot_cleaning", "iot_wemo_on"),
    "iot_hue_lightchange": ("light color", "iot_hue_lightup", "iot_hue_lighton"),
    "iot_hue_lightdim": ("less light", "iot_hue_lightup", "audio_volume_down"),
    "iot_hue_lightoff": ("light off", "iot_hue_lighton", "iot_wemo_off"),
    "iot_hue_lighton": ("light on", "iot_hue_lightoff", "iot_hue_lightup"),
    "iot_hue_lightup": ("more light", "iot_hue_lightdim", "audio_volume_up"),
    "iot_wemo_off": ("plug off", "iot_wemo_on", "iot_hue_lightoff"),
    "iot_wemo_on": ("plug on", "iot_wemo_off", "iot_hue_lighton"),
    "audio_volume_mute": ("sound off", "audio_volume_down", "iot_wemo_off"),
    "audio_volume_up": ("more sound", "audio_volume_down", "iot_hue_lightup"),
    "audio_volume_down": ("less sound", "audio_volume_up", "audio_volume_mute"),
    "alarm_query": ("ask alarm", "alarm_set", "alarm_remove"),
    "alarm_remove": ("cancel alarm", "alarm_set", "alarm_query"),
    "alarm_set": ("new alarm", "alarm_query", "alarm_remove"),
    "lists_createoradd": ("add to list", "lists_query", "lists_remove"),
    "lists_query": ("ask list", "lists_createoradd", "lists_remove"),
    "lists_remove": ("cut from list", "lists_createoradd", "lists_query"),
    "weather_query": ("ask weather", "datetime_query", "alarm_query"),
    "datetime_query": ("ask time", "weather_query", "alarm_query"),
    "play_music": ("play music", "audio_volume_up", "lists_query"),
}
