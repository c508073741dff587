#include "server/device_choice.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;

TEST(DeviceChoice, AutoIsTheDefaultAndTakesEveryCudaDevice) {
  Config config;
  ASSERT_TRUE(HasAutoDevices(config));
  ASSERT_TRUE(ChooseDevices(3, config).ok());
  EXPECT_THAT(config.devices, ElementsAre("cuda:0", "cuda:1", "cuda:2"));
  EXPECT_EQ(config.inference_device, "cuda:0");
  EXPECT_FALSE(HasAutoDevices(config));
}

TEST(DeviceChoice, WithoutCudaItIsTheCpu) {
  Config config;
  ASSERT_TRUE(ChooseDevices(0, config).ok());
  EXPECT_THAT(config.devices, ElementsAre("cpu"));
  EXPECT_EQ(config.inference_device, "cpu");
}

TEST(DeviceChoice, WhatIsNamedStays) {
  Config config;
  config.devices = {"cuda:1", "cpu"};
  config.inference_device = "cpu";
  EXPECT_FALSE(HasAutoDevices(config));
  ASSERT_TRUE(ChooseDevices(4, config).ok());
  EXPECT_THAT(config.devices, ElementsAre("cuda:1", "cpu"));
  EXPECT_EQ(config.inference_device, "cpu");
  config.inference_device = "auto";
  ASSERT_TRUE(ChooseDevices(4, config).ok());
  EXPECT_EQ(config.inference_device, "cuda:0");
}

TEST(DeviceChoice, AutoBesideOthersIsRefused) {
  Config config;
  config.devices = {"auto", "cpu"};
  EXPECT_EQ(StatusField(ChooseDevices(1, config)), "devices");
}

}  // namespace
}  // namespace engram::server
